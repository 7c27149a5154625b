"""Parts that the families share: converted model, dialect, filling in of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rebridge import bridges, samplers
from rebridge.bridges import Bridge, Coefficients
from rebridge.denoisers import NetworkDenoiser
from rebridge.models.autoencoders import Autoencoder
from rebridge.models.formats.published.errors import FormatError
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.paging import page_out
from rebridge.networks import Network
from rebridge.samplers import Sampler

PREFIX = "published/"
"""What the name of a published family begins with in a configuration, so that it is no network of the catalogue."""
HALF = (torch.bfloat16, torch.float16)
IMAGE_AXES = 4
REPORTED = 3
"""So many names of weights are given in an error."""


class Dialect(Network):
    """A published network whose forward(x, t, y) is the clean estimate x0.

    x and y are in the value range of `bridge`, t is (B,) in [0, 1]. `config` rebuilds the dialect with empty weights by
    `rebridge.models.formats.published.build`.

    Args:
        bridge: The process that the network was trained on, {"name": ..., **parameters} of `rebridge.bridges.create`.
        network: The authors' network under the names used here.
        channels: Channels of a state.
        multiple: Sides of images that the network takes as they are; it pads others itself.
    """

    family: ClassVar[str]
    latent: ClassVar[bool] = False
    """Whether states are in the latent space of an autoencoder."""
    conditional: ClassVar[bool] = True
    """Whether the degraded image has a part in the estimate; priors know nothing of it."""

    def __init__(self, bridge: Mapping[str, Any], network: nn.Module, channels: int, multiple: int) -> None:
        super().__init__()
        self.bridge: Bridge = process(bridge)
        self.network = network
        self.channels = channels
        self.multiple = multiple

    def coefficients(self, t: Tensor, like: Tensor) -> Coefficients:
        """alpha, beta and gamma at times t (B,), shaped to multiply images like `like`."""
        return self.bridge.coefficients(t).like(like)

    def index(self, t: Tensor) -> Tensor:
        """Count times t (B,) from 0 on the grid whose step i holds t = (i + 1)/T.

        Returns (B,) float32, fractions in between.
        """
        steps = int(self.bridge.params["steps"])
        return (t.double() * steps - 1).clamp(min=0).float()

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network's weights."""
        first = next(self.network.parameters(), None)
        return torch.float32 if first is None else first.dtype

    def run(self, *inputs: Any) -> Any:
        """Call the network in the precision of its weights.

        Images go in and come out in the precision of the first of them, so that states keep theirs beside a network in
        half precision; times stay as they are.
        """
        if self.dtype not in HALF:
            return self.network(*inputs)
        output = self.network(*(self._lowered(value) for value in inputs))
        if isinstance(output, tuple):
            return tuple(part.to(inputs[0].dtype) for part in output)
        return output.to(inputs[0].dtype)

    def _lowered(self, value: Any) -> Any:
        return value.to(self.dtype) if isinstance(value, Tensor) and value.ndim == IMAGE_AXES else value


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A published checkpoint as a model of the library.

    Args:
        family: Name in the catalogue of families.
        network: The dialect with the weights in it, in eval mode.
        sampler: As the authors run it.
        tasks: What it removes, by the names of the library's degradations.
        source: Repository and paper.
        licence: Licence of the authors' code.
        weights_licence: What they say of the weights.
        taken: Which weights of the file were used.
        clamp: Whether the authors clamp the clean estimate at each step.
        autoencoder: What carries images into the space of the states; None for pixels.
        notes: What to know before use, one sentence each.
    """

    family: str
    network: Dialect
    sampler: Sampler
    tasks: tuple[str, ...]
    source: str
    licence: str
    weights_licence: str
    taken: str
    clamp: bool = False
    autoencoder: Autoencoder | None = None
    notes: tuple[str, ...] = ()
    prediction: str = "x0"

    @property
    def bridge(self) -> Bridge:
        """The process that the network was trained on."""
        return self.network.bridge

    @property
    def config(self) -> dict[str, Any]:
        """Describe the model for a model folder, as JSON-able values.

        `rebridge.models.formats.published.build` makes the network again from "network".
        """
        config: dict[str, Any] = {
            "bridge": {"name": self.bridge.name, **self.bridge.params},
            "network": self.network.config,
            "prediction": self.prediction,
            "clamp": self.clamp,
            "sampler": {"name": self.sampler.name, **self.sampler.params},
            "tasks": list(self.tasks),
        }
        if self.autoencoder is not None:
            config["autoencoder"] = self.autoencoder.config
        texts = ("source", "licence", "weights_licence", "taken")
        return config | {"published": {"family": self.family, **{text: vars(self)[text] for text in texts}}}

    def denoiser(self) -> NetworkDenoiser:
        """The network as samplers call it."""
        return NetworkDenoiser(self.network, self.bridge, self.prediction, clamp=self.clamp).eval()

    @property
    def parameters(self) -> int:
        """Number of weights, those of the autoencoder included."""
        return sum(weight.numel() for module in self._modules() for weight in module.parameters())

    def fingerprint(self) -> str:
        """Hash names and values of the weights; see `fingerprint`."""
        return fingerprint(self._modules())

    def _modules(self) -> list[nn.Module]:
        return [self.network] if self.autoencoder is None else [self.network, self.autoencoder]


def fingerprint(modules: Iterable[nn.Module]) -> str:
    """Hash names and values of weights to twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Request:
    """A user's wishes for a conversion.

    Args:
        family: Name of the family, which several may share one converter.
        task: One of the family's tasks; None for its default.
        dtype: Type in which the weights are kept.
        options: Further parameters of the family, such as max_sigma.
    """

    family: str
    task: str | None = None
    dtype: torch.dtype = torch.float32
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A published family: how its files are known and what becomes of them.

    Args:
        name: Name in the catalogue.
        title: Name in sentences.
        detect: Whether the weights of some files are of this family (perhaps with a part missing).
        convert: Makes the model. Raises FormatError, a phrase, or KeyError for weights that are missing.
        build: Makes the dialect with empty weights from its configuration.
        options: Names of the further parameters that `convert` takes.
        tasks: Names of the published tasks.
    """

    name: str
    title: str
    detect: Callable[[Sequence[StateDict]], bool]
    convert: Callable[[Sequence[Weights], Request], Converted]
    build: Callable[..., Dialect]
    options: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


def dialect(
    family: str, build: Callable[..., Any], config: dict[str, Any], state: StateDict, dtype: torch.dtype
) -> Any:
    """Build a family's dialect with the network's weights in it.

    Args:
        family: Name of the family.
        build: The dialect's class.
        config: Its parameters, from which `rebridge.models.formats.published.build` makes it again.
        state: Weights of its network by our names.
        dtype: Type in which they are kept.
    """
    named = {f"network.{name}": value for name, value in state.items()}
    network = filled(lambda: build(**config), named, dtype)
    network.config = {"name": PREFIX + family, **config}
    return network


def filled(build: Callable[[], nn.Module], state: StateDict, dtype: torch.dtype) -> Any:
    """Build a module on no device and put the weights into it, cast where needed.

    Raises:
        FormatError: Naming weights that are missing, left over or of another shape.
    """
    with torch.device("meta"):
        module = build()
    expected = module.state_dict()
    _check_names(expected, state)
    wrong = [name for name, value in expected.items() if value.shape != state[name].shape]
    if wrong:
        name = wrong[0]
        raise FormatError(
            f"has {name} of shape {tuple(state[name].shape)}, but {tuple(expected[name].shape)} is needed"
        )
    whole = [name for name, value in expected.items() if value.is_floating_point() > state[name].is_floating_point()]
    if whole:
        raise FormatError(f"has whole numbers as {whole[0]}, where fractions are needed")
    module.load_state_dict({name: _cast(value, dtype) for name, value in state.items()}, assign=True)
    return module.requires_grad_(False).eval()


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight in its final type; the memory of one that was mapped and copied is given back."""
    if not value.is_floating_point() or value.dtype == dtype:
        return value
    cast = value.to(dtype)
    page_out(value)
    return cast


def _check_names(expected: Mapping[str, Tensor], state: StateDict) -> None:
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected]
    if missing:
        names = ", ".join(missing[:REPORTED])
        raise FormatError(f"lacks {len(missing)} of {len(expected)} weights, here called {names}")
    if extra:
        raise FormatError(
            f"holds {len(extra)} weights that the network has not, here called {', '.join(extra[:REPORTED])}"
        )


def process(config: Mapping[str, Any]) -> Bridge:
    """Create the process of {"name": ..., **parameters}.

    Its tables are in memory even inside a context that builds networks without any.
    """
    params = {key: value for key, value in config.items() if key != "name"}
    with torch.device("cpu"):
        return bridges.create(config["name"], **params)


def single(weights: Sequence[Weights]) -> Weights:
    """The only file; FormatError if there are several."""
    if len(weights) != 1:
        raise FormatError(f"is one of {len(weights)} files, but this family has its weights in one")
    return weights[0]


def choose(request: Request, tasks: Mapping[str, Any], default: str) -> str:
    """The task asked for, or the default; FormatError for one that was not published."""
    task = default if request.task is None else request.task
    if task not in tasks:
        raise FormatError(f"was not published for the task {task!r}; there are {', '.join(tasks)}")
    return task


def official(name: str, **params: Any) -> Sampler:
    """A sampler by name."""
    return samplers.create(name, **params)
