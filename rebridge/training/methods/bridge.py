"""A denoiser of a bridge, or a pixel prior.

One network D(x_t, t, y) trained against x0.

    loss(D(x_t, t, y), x0),    x_t between y and x0 at the times and states of `rebridge.training.timesteps`

`DenoiserTraining` is the task that the other methods with a denoiser share; what differs between them is their `Objective`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rebridge import bridges, networks, samplers
from rebridge.bridges import Bridge
from rebridge.data import Pair
from rebridge.denoisers import Denoiser, NetworkDenoiser
from rebridge.denoisers.parameterization import blind_at_end
from rebridge.models import TrainedModel
from rebridge.networks.catalogue import NETWORKS
from rebridge.networks.conditions import NONE, Condition, Values, at_rows, at_scale, conditions_of
from rebridge.samplers import Sampler
from rebridge.training.config import LossConfig, Named, OptimisationConfig, RunConfig, SpaceConfig, StatesConfig
from rebridge.training.config_files import ConfigError
from rebridge.training.data import tasks_of
from rebridge.training.ema import Ema
from rebridge.training.latents import latents_of
from rebridge.training.losses import classifier_loss, loss_of
from rebridge.training.parts import create, load_weights
from rebridge.training.runtime import InPrecision
from rebridge.training.task import Validation, count_parameters
from rebridge.training.teaching import check_teaches
from rebridge.training.timesteps import END_ONLY, draw_states, drop_conditions
from rebridge.training.validation import validate


class TrainConfig(RunConfig):
    """The settings of a denoiser of a bridge, or of a pixel prior.

    Attributes:
        bridge, network, sampler: names and parameters; the sampler is that of validation and of the exported model, by default
            the one of the bridge's authors.
        prediction: what the network's output means, see `rebridge.denoisers.parameterization`.
        objective: "bridge" trains at the times of `states`, "regression" at t = 1 only (plain one-step regression).
        clamp: whether estimates are clamped to the bridge's range when restoring; the authors of GOUB, IR-SDE and RDBM do not
            clamp what a noise network gives. Stored with the model.
        residual_scale: typical size of x0 - y in the bridge's units, for prediction "preconditioned" and "blend" under modulation
            one; the standard deviation of the images for "ddbm", there by default 0.5.
        space: by default pixels; {autoencoder: FOLDER} trains in the latents of an autoencoder, which the exported model holds.
            Latents have no range, so that estimates are not clamped.
        start_from: a model folder or a .safetensors file whose weights training begins with, or several for parts of the
            network; what they lack begins untrained, and blocks that were added change nothing at first. In a file with stages
            also the name of an earlier stage.
    """

    PROBLEM: ClassVar[tuple[str, ...]] = (
        *RunConfig.PROBLEM,
        "bridge",
        "network",
        "prediction",
        "residual_scale",
        "space",
    )

    bridge: Named = Named(name="rdbm")
    network: Named = Named(name="fast")
    sampler: Named | None = None
    prediction: Literal[
        "x0", "residual", "noise", "velocity", "preconditioned", "blend", "difference", "scaled-difference", "ddbm"
    ] = "x0"
    clamp: bool = True
    space: SpaceConfig | None = None
    objective: Literal["bridge", "regression"] = "bridge"
    residual_scale: Annotated[float, Field(gt=0)] = 1.0
    states: StatesConfig = StatesConfig()
    loss: LossConfig = LossConfig()
    optimisation: OptimisationConfig = OptimisationConfig()
    compile: bool = False
    channels_last: bool = False
    start_from: Path | tuple[Path, ...] | None = None

    @property
    def scale(self) -> float | None:
        """The scale of `NetworkDenoiser`, None for its own default."""
        given = self.prediction != "ddbm" or "residual_scale" in self.model_fields_set
        return self.residual_scale if given else None

    @property
    def channels(self) -> int:
        """Channels of the images: the network's, or three where it sees latents."""
        if self.space is not None:
            return 3
        known = NETWORKS.parameters(self.network.name) if self.network.name in NETWORKS else {}
        channels = (known | self.network.params).get("channels", 3)
        return channels if isinstance(channels, int) else 3

    @property
    def declared(self) -> dict[str, Condition]:
        """Extra conditions of the network, as its settings or its class declare them."""
        given = self.network.params.get("conditions")
        if given is None and self.network.name in NETWORKS:
            build = NETWORKS[self.network.name]
            given = build.conditions if isinstance(build, type) and issubclass(build, networks.Network) else None
        return dict(create("network", conditions_of, given))

    @model_validator(mode="before")
    @classmethod
    def _default_names(cls, tree: Any) -> Any:
        """`bridge: {lam: 0.1}` is short for `bridge: {name: rdbm, lam: 0.1}`.

        Likewise network and sampler.
        """
        if not isinstance(tree, dict):
            return tree
        defaults = {key: cls.model_fields[key].default.name for key in ("bridge", "network")} | {"sampler": "dbim"}
        named = {key: {"name": name} | tree[key] for key, name in defaults.items() if isinstance(tree.get(key), dict)}
        if tree.get("space") is not None:
            if tree.get("clamp"):
                raise ValueError("clamp: latents are not confined to a range; leave clamp out with space.autoencoder")
            tree = {**tree, "clamp": False}
        return tree | named


class Objective(Protocol):
    """The loss of a denoiser, and the use of its averaged weights."""

    def loss(self, x0: Tensor, y: Tensor, first: int, told: Values = NONE) -> Tensor:
        """The loss of samples number `first` on, a scalar with gradients.

        x0, y: (B, C, H, W) in the bridge's range. told: extra conditions by name.
        """
        ...

    def condition(self, x0: Tensor, y: Tensor) -> tuple[Denoiser, Tensor]:
        """The denoiser of averaged weights, and the image the bridge starts from."""
        ...

    def metrics(self) -> dict[str, float]:
        """Numbers of the last batch by name."""
        ...

    def averages(self) -> tuple[nn.Module, nn.Module | None]:
        """The averaged network, and the averaged predictor if there is one."""
        ...


class BridgeObjective:
    """D(x_t, t, y) against x0; with `objective: regression` at t = 1 only.

    Args:
        config: of the run.
        bridge: the process.
        network: the network in training, in its precision.
        average: the module of averaged weights.
    """

    def __init__(self, config: TrainConfig, bridge: Bridge, network: nn.Module, average: nn.Module) -> None:
        role: dict[str, Any] = {"prediction": config.prediction, "scale": config.scale, "clamp": config.clamp}
        self.config = config
        self.bridge = bridge
        self.denoiser = NetworkDenoiser(network, bridge, **role).train()
        self.restorer = NetworkDenoiser(average, bridge, **role).eval()
        self.plan = END_ONLY if config.objective == "regression" else config.states
        if blind_at_end(config.prediction, bridge) and "end_fraction" not in config.states.model_fields_set:
            self.plan = self.plan.model_copy(update={"end_fraction": 0.0})

    def loss(self, x0: Tensor, y: Tensor, first: int, told: Values = NONE) -> Tensor:
        """The loss of a batch; a share of the samples may go without a condition."""
        y = drop_conditions(y, first, self.config.seed, self.config.states.condition_dropout)
        states = draw_states(self.bridge, self.denoiser, x0, y, first, self.config.seed, self.plan, told)
        return loss_of(
            self.denoiser, x0[states.rows], y[states.rows], states, self.config.loss, at_rows(told, states.rows)
        )

    def condition(self, x0: Tensor, y: Tensor) -> tuple[Denoiser, Tensor]:
        """The averaged denoiser, and y itself."""
        return self.restorer, y

    def metrics(self) -> dict[str, float]:
        """Nothing beside the loss."""
        return {}

    def averages(self) -> tuple[nn.Module, nn.Module | None]:
        """The averaged network."""
        return self.restorer.network, None


class DenoiserTraining:
    """The task of training a denoiser.

    A network, the average of its weights, validation by restoring, a model folder in the end.

    Subclasses, one a method, choose the network and the objective.

    Args:
        config: of the run.
        device: where the networks are trained.
        validation: pairs to restore.

    Raises:
        ConfigError: a setting that does not fit the others, or weights to start from that cannot be read.
    """

    Config: ClassVar[type[RunConfig]] = TrainConfig
    section: ClassVar[str | None] = None
    result: ClassVar[str] = "model"
    """Folder of the exported model in the output of a run."""

    def __init__(self, config: TrainConfig, device: torch.device, validation: Sequence[Pair] = ()) -> None:
        self.config, self.device, self.pairs = config, device, validation
        self.bridge, self.sampler = settings_of(config)
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.tasks = list(tasks_of(config.data))
        self.latents = latents_of(config, device)
        torch.manual_seed(config.seed)
        self.module = self.build()
        self.module.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.ema = Ema(self.module, config.optimisation.ema_decay)
        self.objective = self.objective_of()

    @classmethod
    def check(cls, config: Any) -> None:
        """Raise ConfigError for settings that do not fit one another.

        Nothing large has been built then.
        """
        settings_of(config)

    def build(self) -> nn.Module:
        """The network, with the weights that training begins with.

        A classifier that the loss leaves out stays as it is, or several processes would wait for its gradients.
        """
        network = create("network", networks.create, self.config.network.name, self.config.network.params)
        guide = dict(network.named_children()).get("guide")
        if guide is not None and not self.config.loss.guide:
            guide.requires_grad_(False)
        load_weights(network, self.config.start_from, "start_from")
        return network

    def objective_of(self) -> Objective:
        """Make the objective."""
        return BridgeObjective(self.config, self.bridge, self.in_precision(self.module), self.ema.module)

    def in_precision(self, function: Callable[..., Any]) -> InPrecision:
        """A network, or a method of one, as it is called in training.

        Compiled if asked for, in the run's precision.
        """
        compiled: Any = torch.compile(function, dynamic=False) if self.config.compile else function
        return InPrecision(compiled, self.device, self.config.precision)

    def to(self, device: torch.device) -> DenoiserTraining:
        """Nothing: the networks lie on the device of the run from the beginning."""
        return self

    def loss(self, batch: Pair, first: int) -> Tensor:
        """The loss of the objective, and of the network's classifier where it has one."""
        x0, y = self._in_range(batch.clean), self._in_range(batch.degraded)
        loss = self.objective.loss(x0, y, first, self._told(batch.conditions))
        if self.config.loss.guide:
            network: Any = self.module
            logits = InPrecision(network.classify, self.device, self.config.precision)(y)
            loss = loss + self.config.loss.guide * classifier_loss(logits, batch.task, self.tasks)
        return loss

    def after_step(self, iteration: int) -> None:
        """Update the average."""
        self.ema.update(self.module, iteration)

    def state_dict(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The weights and their average."""
        return {"model": self.module.state_dict(), "ema": self.ema.module.state_dict()}

    def load_state_dict(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take back the weights and their average."""
        self.module.load_state_dict(tensors["model"])
        self.ema.module.load_state_dict(tensors["ema"])

    def metrics(self) -> dict[str, float]:
        """The numbers of the objective."""
        return self.objective.metrics()

    def describe(self) -> str:
        """Network, bridge and patches."""
        config, patches = self.config, [phase.patch for phase in self.config.progressive]
        sides = " to ".join(f"{side}x{side}" for side in patches[:: max(len(patches) - 1, 1)] or [config.data.patch])
        size = f"{config.network.name} ({count_parameters(self.module):,} parameters)"
        return f"{size}, {config.bridge.name}, patches of {sides}"

    def validate(self) -> Validation | None:
        """Restore the validation pairs with the averaged weights."""
        if not self.pairs:
            return None
        condition, seed = self.objective.condition, self.config.seed
        enter, leave = (None, None) if self.latents is None else (self.latents.enter, self.latents.leave)
        scores = validate(
            self.bridge, condition, self.pairs, self.sampler, self.device, seed, enter, leave, told=self._told
        )
        return scores.validation()

    def export(self, folder: Path, validation: Mapping[str, float]) -> Path:
        """Write the averaged weights as a model folder.

        `Restorer.from_pretrained` loads it.
        """
        config = self.config
        training = config.model_dump(mode="json", exclude={"bridge", "network", "sampler", "output"})
        network, predictor = self.objective.averages()
        model = TrainedModel.of(
            network,
            self.bridge,
            config.prediction,
            scale=config.scale,
            clamp=config.clamp,
            sampler={"name": self.sampler.name, **self.sampler.params},
            tasks=[] if config.states.condition_dropout == 1 else self.tasks,
            autoencoder=None if self.latents is None else self.latents.autoencoder,
            training=training | {"psnr": dict(validation)},
            predictor=None if predictor is None else NetworkDenoiser(predictor, self.bridge, "residual").eval(),
            condition=config.states.condition_dropout < 1,
        )
        return model.save_pretrained(folder / self.result)

    def explain(self, error: Exception) -> Exception:
        """One sentence for what compilers raise in the first iteration.

        Their own errors are pages of generated code.
        """
        if not self.config.compile or isinstance(error, ValueError):
            return error
        return ConfigError(
            f"compile: torch.compile cannot train the network {self.config.network.name!r} on this machine "
            f"({type(error).__name__}); set compile=false"
        )

    def _in_range(self, images: Tensor) -> Tensor:
        """Images in [0, 1] in the bridge's value range, or as latents."""
        if self.latents is not None:
            return self.latents.enter(images).contiguous(memory_format=self.layout)
        low, high = self.bridge.value_range
        return (images.to(self.device) * (high - low) + low).contiguous(memory_format=self.layout)

    def _told(self, conditions: Values) -> dict[str, Tensor]:
        """Extra conditions (B, ...) on the device, maps of the size of the states."""
        scale = 1 if self.latents is None else self.latents.autoencoder.factor
        declared = self.config.declared if conditions else {}
        return {name: value.to(self.device) for name, value in at_scale(declared, conditions, scale, scale).items()}


class BridgeTraining(DenoiserTraining):
    """Train a denoiser of a bridge, or a pixel prior."""


def settings_of(config: TrainConfig) -> tuple[Bridge, Sampler]:
    """Check that the settings fit one another; returns bridge and sampler.

    Raises:
        ConfigError: an unknown name or parameter, or settings that cannot be combined; names the key.
    """
    bridge: Bridge = create("bridge", bridges.create, config.bridge.name, config.bridge.params)
    sampler: Sampler = (
        samplers.recommended(bridge)
        if config.sampler is None
        else create("sampler", samplers.create, config.sampler.name, config.sampler.params)
    )
    create("sampler", sampler.check, bridge)
    create("network", NETWORKS.check, config.network.name, {"params": config.network.params})
    role = {"prediction": config.prediction, "scale": config.scale}
    check_teaches(config, create("prediction", NetworkDenoiser, nn.Identity(), {"bridge": bridge, **role}))
    classes = (NETWORKS.parameters(config.network.name) | config.network.params).get("kinds", 0)
    tasks = tasks_of(config.data)
    if config.loss.guide and classes != len(tasks):
        raise ConfigError(
            f"loss.guide: the data has {len(tasks)} kinds ({', '.join(tasks)}), network.kinds is {classes}"
        )
    if config.loss.on == "step" and bridge.noiseless:
        raise ConfigError(f"loss.on: step needs a bridge with noise, and {bridge.name} here has none")
    if config.states.condition_dropout and not bridge.generative:
        raise ConfigError(
            f"states.condition_dropout: {bridge.name} has y in its states; only vp, ve and rectified-flow do without"
        )
    if config.states.times == "log-noise" and not bridge.generative:
        raise ConfigError(
            f"states.times: log-noise is for processes that end in noise, and {bridge.name} does not; "
            "uniform-in-weight is near to it"
        )
    return bridge, sampler
