"""Models with a network: trained bridges, and priors in pixels.

A prior's network sees cat[x_t - alpha y, y, c] with c = 1 where there is a condition and 0 where y = 0 stands for none. Trained
with `states.condition_dropout`, the same weights are p(x0) and p(x0 | y).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rebridge.bridges import Bridge
from rebridge.denoisers import Autocast, ClassifierFree, Denoiser, NetworkDenoiser
from rebridge.denoisers.precision import AUTO_DTYPE, dtype_of
from rebridge.denoisers.tiling import Divisible
from rebridge.models.autoencoders import Autoencoder, AutoencoderSpace
from rebridge.models.base import Finding, Model, ModelError, ModelInfo, PixelSpace
from rebridge.models.compiling import compile_now
from rebridge.models.speed import chosen_dtype
from rebridge.networks import Network
from rebridge.networks.conditions import Bound, at_scale, conditions_of
from rebridge.networks.lazy import LazyImages
from rebridge.samplers import Sampler, recommended


class TrainedModel(Model):
    """A network with the process it was trained on and its best sampler.

    Args:
        denoiser: the network as a denoiser of its process.
        sampler: recommended, {"name": ..., **parameters} of `rebridge.samplers.create`; by default what the bridge's authors take
            (`rebridge.samplers.recommended`).
        tasks: the degradations that it was trained to remove.
        name: for messages and the card.
        predictor: where the bridge starts from a prediction g(y), the denoiser that makes it.
        training: free JSON-able metadata.
        dtype: float32, or bfloat16 or float16 to run the network in autocast; "auto" for what is found best on this machine.
        compile: whether to run the blocks of the network through torch.compile, now.
        condition: whether a generative network sees the degraded image.
        guidance: classifier-free guidance of a generative network, 1 for none.
        presets: see `ModelInfo.presets`.
        channels: of the images, where the network does not declare them.
        licence, source, base_model: see `ModelInfo`.
        autoencoder: in whose latents the states are; None for pixels.

    Raises:
        ModelError: no condition or guidance is asked of a network that was trained with the condition only.
    """

    network: nn.Module
    space: PixelSpace | AutoencoderSpace

    def __init__(
        self,
        denoiser: NetworkDenoiser,
        *,
        sampler: Mapping[str, Any] | None = None,
        tasks: Sequence[str] = (),
        name: str = "model",
        predictor: NetworkDenoiser | None = None,
        training: Mapping[str, Any] | None = None,
        dtype: str | torch.dtype | None = None,
        compile: bool = False,
        condition: bool = True,
        guidance: float = 1.0,
        presets: Path | None = None,
        channels: int | None = None,
        licence: str | None = None,
        source: str | None = None,
        base_model: str | None = None,
        autoencoder: Autoencoder | None = None,
    ) -> None:
        self.denoiser = denoiser
        self.autoencoder = autoencoder
        self.network = unwrapped(denoiser.network)
        self.process = denoiser.bridge
        self.blind_at_end = denoiser.blind_at_end
        self.training = dict(training or {})
        self.guidance = guidance
        self._first_predictor = predictor
        needs = declared(self.network)
        if autoencoder is not None:
            channels = autoencoder.channels
        self._optional_condition: bool = needs["optional_condition"]
        if (not condition or guidance != 1) and not self._optional_condition:
            raise ModelError(f"model '{name}' was not trained without a degraded image: optional_condition is off")
        self.info = ModelInfo(
            name=name,
            channels=needs["channels"] if channels is None else channels,
            multiple=needs["multiple"] * (1 if autoencoder is None else autoencoder.factor),
            window=needs["window"],
            context=max(
                needs["context"], 0 if predictor is None else declared(unwrapped(predictor.network))["context"]
            ),
            tasks=tuple(tasks),
            sampler=dict(sampler or described(recommended(self.process))),
            conditional=condition,
            conditions=conditions_of(needs["conditions"]),
            earliest_time=self.process.earliest_time,
            presets=presets,
            licence=licence,
            source=source,
            base_model=base_model,
        )
        self.precision = chosen_dtype(denoiser, self.info.channels) if dtype == AUTO_DTYPE else dtype_of(dtype)
        self._place()
        if compile:
            compile_now(self)

    @classmethod
    def of(
        cls,
        network: nn.Module,
        bridge: Bridge,
        prediction: str = "x0",
        *,
        clamp: bool = True,
        scale: float | None = None,
        **options: Any,
    ) -> TrainedModel:
        """Make a model of a network in hand, called as network(x, t, y).

        The network is put into eval mode.

        Args:
            network: any module; one of the catalogue, or registered there, can be saved too.
            bridge: what it was trained on.
            prediction, clamp, scale: of `rebridge.denoisers.NetworkDenoiser`.
            options: of the class.

        Raises:
            ValueError: an unknown prediction, or one that the bridge cannot have.
        """
        return cls(NetworkDenoiser(network, bridge, prediction, clamp, scale).eval(), **options)

    def given(self, condition: Tensor | None, **conditions: Tensor) -> Denoiser:
        """The network; degraded images reach it as the y of each call.

        Without a condition, y = 0 takes its place. Extra conditions reach it by name.
        """
        if condition is None:
            if not self.process.generative:
                raise ModelError(
                    f"model '{self.info.name}' restores along the bridge {self.process.name}; "
                    "a prior needs vp, ve or rectified-flow"
                )
            if not self._optional_condition:
                raise ModelError(
                    f"model '{self.info.name}' was not trained without a degraded image: optional_condition is off"
                )
        network = self._informed(self.accepted(condition, conditions))
        if condition is None or not self.info.conditional:
            return self._in_parts(network, self._without)
        if self.guidance != 1:
            return self._in_parts(network, self._guided)
        return self._seeing(condition, network)

    def to(self, device: str | torch.device) -> TrainedModel:
        """Move the networks to a device; returns the model itself."""
        for part in (self.denoiser, self._first_predictor, self.autoencoder):
            if part is not None:
                part.to(device)
        self._place()
        return self

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Write a model folder.

        Options: dtype (torch.float16 halves the file) and card (text of README.md).
        """
        from rebridge.models.folder import save_folder

        return save_folder(self, folder, **options)

    def card(self) -> str:
        """The text of its model card."""
        from rebridge.models.card import card
        from rebridge.models.folder import describe_model

        return card(self.info.name, describe_model(self), self.parameters)

    @property
    def parameters(self) -> int:
        """Number of weights, those of predictor and autoencoder included."""
        parts = (self.network, self._first_predictor, self.autoencoder)
        return sum(weight.numel() for part in parts if part is not None for weight in part.parameters())

    @property
    def predictor_network(self) -> nn.Module | None:
        """The network of the predictor, or None."""
        return None if self._first_predictor is None else unwrapped(self._first_predictor.network)

    @property
    def bridge(self) -> Bridge:
        """The process, under the name that trained bridges have for it."""
        return self.process

    @property
    def sampler_config(self) -> dict[str, Any]:
        """The recommended sampler as {"name": ..., **parameters}."""
        return dict(self.info.sampler)

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json, without the checksum."""
        from rebridge.models.folder import describe_model

        return describe_model(self)

    @property
    def examines(self) -> bool:
        """Whether the network tells what it finds in an image."""
        return isinstance(self.network, Network) and bool(self.network.examined)

    def examine(self, images: Tensor) -> list[list[Finding]]:
        """See `Model.examine`."""
        if not isinstance(self.network, Network) or not self.network.examined:
            return super().examine(images)
        with torch.no_grad():
            found = self.network.diagnose(self._encoded(images))
        probabilities, treated = (part.tolist() for part in found)
        kinds = self.network.examined
        return [
            [Finding(*parts) for parts in zip(kinds, *row, strict=True)]
            for row in zip(probabilities, treated, strict=True)
        ]

    def seeing(self, images: Tensor) -> TrainedModel:
        """See `Model.seeing`.

        A compiled network, and one that starts from a prediction, looks for itself.
        """
        compiled = self.denoiser.network is not self.network
        if compiled or self.predictor is not None or not isinstance(self.network, Network) or not self.network.examined:
            return self
        with torch.no_grad():
            network = self.network.seeing(self._encoded(images))
        found = copy.copy(self)
        found.denoiser, found.network = self._denoiser_of(network), network
        found._place()
        return found

    def treating(self, kinds: Sequence[str], strength: float = 1.0) -> TrainedModel:
        """Make a model that removes these kinds of degradation, whatever is found.

        Args:
            kinds: some of `tasks`.
            strength: share of the change that is made, in [0, 1].

        Raises:
            ValueError: the network cannot be told, or does not know the kinds.
        """
        if not isinstance(self.network, Network):
            raise ValueError(f"model '{self.info.name}' cannot be told what to remove")
        told = self._denoiser_of(self.network.treating(kinds, strength))
        return TrainedModel(
            told,
            sampler=self.info.sampler,
            tasks=self.info.tasks,
            name=self.info.name,
            predictor=self._first_predictor,
            dtype=self.precision,
            licence=self.info.licence,
            source=self.info.source,
            base_model=self.info.base_model,
            autoencoder=self.autoencoder,
        )

    def _encoded(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] as the network sees them."""
        return self.space.encode(images.expand(-1, self.info.channels, -1, -1))

    def _informed(self, told: dict[str, Tensor]) -> nn.Module:
        """The network, bound to extra conditions where there are any."""
        if not told:
            return self.network
        wanted = self.info.conditions
        return Bound(self.denoiser.network, wanted, at_scale(wanted, told, self.info.multiple, self.space.scale))

    def _in_parts(self, network: nn.Module, make: Callable[[nn.Module], Denoiser]) -> Denoiser:
        """The denoiser of a network that judges nothing of the whole; its extra conditions are cut as images are."""
        if not isinstance(network, Bound) or self.autoencoder is not None:
            return make(network)
        return Divisible(make(network), lambda rows, columns: make(network.part(rows, columns)))

    def _seeing(self, condition: Tensor, network: nn.Module) -> Denoiser:
        """The denoiser; its network sees the whole images before their first part, so that all parts are judged alike."""
        if not isinstance(network, Network) or self.predictor is not None:
            return self._in_parts(network, self._bound)

        @cache
        def seen() -> Network:
            pictures = self.space.pictures
            with torch.no_grad():
                whole = (
                    condition.mapped(pictures).cut_alike() if isinstance(condition, LazyImages) else pictures(condition)
                )
                return network.seeing(whole)

        if self.autoencoder is not None:  # latents are taken in tiles by binding the model to each part of the images
            return self._bound(seen())
        return Divisible(self._bound(network), lambda rows, columns: self._bound(seen().part(rows, columns)))

    def _bound(self, network: nn.Module) -> Denoiser:
        """The denoiser of a network that has seen images, in the model's precision."""
        if network is self.network:
            return self._run
        denoiser = self._denoiser_of(network)
        return Autocast(denoiser, self.device.type, self.precision) if isinstance(self._run, Autocast) else denoiser

    def _without(self, network: nn.Module) -> Denoiser:
        """The denoiser without a degraded image: y is 0."""
        denoiser = self._bound(network)
        return lambda x_t, t, y: denoiser(x_t, t, torch.zeros_like(y))

    def _guided(self, network: nn.Module) -> Denoiser:
        """The denoiser with classifier-free guidance, away from the one without a degraded image."""
        return ClassifierFree(self._bound(network), self._without(network), self.guidance)

    def _denoiser_of(self, network: nn.Module) -> NetworkDenoiser:
        own = self.denoiser
        return NetworkDenoiser(network, own.bridge, own.prediction, own.clamp, own.scale).eval()

    def _place(self) -> None:
        """Note where the network lies, and wrap it for its precision."""
        first = next(self.network.parameters(), None)
        self.device = torch.device("cpu") if first is None else first.device
        if self.autoencoder is None:
            self.space = PixelSpace(self.process.value_range, self.device)
        else:
            self.space = AutoencoderSpace(self.autoencoder, declared(self.network)["multiple"], self.device)
        self._run: Denoiser = self.denoiser
        self.predictor = self._first_predictor
        half = first is not None and first.dtype != torch.float32
        if self.precision != torch.float32 and not half:  # a network in half precision needs no casts
            self._run = Autocast(self.denoiser, self.device.type, self.precision)
            if self._first_predictor is not None:
                self.predictor = Autocast(self._first_predictor, self.device.type, self.precision)


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside what torch.compile makes of it."""
    inner: nn.Module = getattr(network, "_orig_mod", network)
    return inner


def described(sampler: Sampler) -> dict[str, Any]:
    """Describe a sampler as {"name": ..., **parameters}."""
    return {"name": sampler.name, **sampler.params}


def declared(network: nn.Module) -> dict[str, Any]:
    """Read a network's declarations, with the defaults of `Network`."""
    keys = ("channels", "multiple", "window", "context", "optional_condition", "conditions")
    return {key: getattr(network, key, getattr(Network, key)) for key in keys}
