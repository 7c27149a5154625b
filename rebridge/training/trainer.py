"""Training a denoiser: configuration, data, model, loop.

`train(load_config("configs/rdbm-tiny.yaml"))` trains on whatever machine there is; `accelerate launch` (or torchrun)
runs the same on many processes. Everything random is a pure function of (seed, number of the sample), so a run that
is stopped and resumed ends, on the CPU, with the same bits as one that is not.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rebridge import bridges, hub, samplers
from rebridge.bridges.diffusion import Generative
from rebridge.data import Pair
from rebridge.images.atomic import reason
from rebridge.training.config import ConfigError, OptimisationConfig, TrainConfig
from rebridge.training.ema import Ema
from rebridge.training.loop import Loop, TrainResult
from rebridge.training.objectives import guide_loss
from rebridge.training.recipes import Refinement, build_network, recipe_of
from rebridge.training.stream import tasks_of
from rebridge.training.validation import validate


def train(config: TrainConfig, resume: bool = False) -> TrainResult:
    """Train until `config.optimisation.iterations`, or until SIGTERM or Ctrl-C, which leave a checkpoint behind.

    resume: continue from the newest usable checkpoint in `config.output` (from the beginning where there is none).
    Writes checkpoints, `log.jsonl` and TensorBoard files there, and in the end the model folder `model`, with the
    averaged weights. Raises ConfigError for a configuration that does not fit the data or the catalogue,
    CheckpointError for checkpoints that do not fit the configuration.
    """
    return Run(config, resume).run()


class Run(Loop[TrainConfig]):
    """A run that trains a denoiser, and keeps the average of its weights."""

    def __init__(self, config: TrainConfig, resume: bool) -> None:
        self.bridge = named("bridge", bridges.create, config.bridge.name, config.bridge.params)
        self.sampler = named("sampler", samplers.create, config.sampler.name, config.sampler.params)
        named("sampler", self.sampler.check, self.bridge)
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        super().__init__(config, resume)
        modules = {"model": self.model, "network": self.network, "average": self.ema.module}
        self.kinds = tasks_of(config.data)
        kinds = getattr(self.network, "kinds", 0)
        if config.loss.guide and kinds != len(self.kinds):
            raise ConfigError(
                f"loss.guide: the data has {len(self.kinds)} kinds ({', '.join(self.kinds)}), network.kinds is {kinds}"
            )
        if config.loss.on == "step" and self.bridge.noiseless:
            raise ConfigError(f"loss.on: step needs a bridge with noise, and {self.bridge.name} here has none")
        self.recipe = named("prediction", recipe_of, config, {"bridge": self.bridge, **modules})
        if config.states.condition_dropout and not isinstance(self.bridge, Generative):
            raise ConfigError(
                f"states.condition_dropout: {self.bridge.name} has y in its states; only vp, ve and rectified-flow do without"
            )

    def build(self) -> nn.Module:
        """The network, and beside it the average of its weights."""
        network = build_network(self.config, named)
        _start(self.config, network)
        network.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        self.ema = Ema(network, self.config.optimisation.ema_decay)
        return network

    def compiled(self) -> nn.Module:
        """The network, by torch.compile where the configuration asks for it."""
        if not self.config.compile:
            return self.network
        compiled: Any = torch.compile(self.network, dynamic=False)
        return compiled

    def step(self, iteration: int) -> None:
        """One step of the optimiser, and of the average."""
        try:
            super().step(iteration)
        except Exception as error:
            # Compilers fail in the first iteration, with pages of generated code.
            if self.config.compile and iteration == self.start and not isinstance(error, ValueError):
                raise ConfigError(
                    f"compile: torch.compile cannot train the network {self.config.network.name!r} on this machine "
                    f"({type(error).__name__}); set compile=false"
                ) from error
            raise
        self.ema.update(self.network, iteration)

    def loss(self, pair: Pair, first: int) -> Tensor:
        """The loss of the recipe, and of the guide where the network has one."""
        x0, y = self._to_bridge(pair.clean), self._to_bridge(pair.degraded)
        loss = self.recipe.loss(x0, y, first)
        if self.config.loss.guide:
            loss = loss + self.config.loss.guide * guide_loss(self.model, y, pair.task, self.kinds)
        return loss

    def learning_rate(self, iteration: int) -> float:
        """See the function of that name."""
        return learning_rate(iteration, self.config.optimisation)

    def figures(self) -> dict[str, float]:
        """Those of the recipe."""
        return self.recipe.figures()

    def validate(self, done: int) -> None:
        """Restore the validation pairs with the averaged weights, on the first process only."""
        if self.validation:
            given = self.recipe.given
            result = validate(self.bridge, given, self.validation, self.sampler, self.device, self.config.seed)
            self.psnr = result.figures
            self.journal.report(done, result.figures, str(result))
            self.journal.pictures(done, result.pictures)

    def kept(self) -> dict[str, Mapping[str, Tensor]]:
        """The weights and their average."""
        return {"model": self.network.state_dict(), "ema": self.ema.module.state_dict()}

    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """The weights and their average."""
        self.network.load_state_dict(tensors["model"])
        self.ema.module.load_state_dict(tensors["ema"])

    def export(self) -> Path:
        """Write the averaged weights as a model folder that `Restorer.from_pretrained` loads."""
        config, folder = self.config, self.config.output / "model"
        if self.accelerator.is_main_process:
            training: dict[str, Any] = config.model_dump(
                mode="json", exclude={"bridge", "network", "sampler", "output"}
            )
            training["psnr"] = self.psnr
            sampler = {"name": config.sampler.name, **config.sampler.params}
            tasks = list(tasks_of(config.data))
            network, predictor = self.recipe.parts()
            hub.save_model(
                folder,
                network,
                self.bridge,
                config.prediction,
                sampler,
                tasks,
                training,
                predictor=predictor,
                scale=config.residual_scale,
            )
        return folder

    def subject(self) -> str:
        """Network and bridge."""
        return f"{self.config.network.name} ({self.parameters:,} parameters), {self.config.bridge.name}"

    def _to_bridge(self, images: Tensor) -> Tensor:
        """Images in [0, 1] on the device, in the bridge's value range."""
        low, high = self.bridge.value_range
        return (images.to(self.device) * (high - low) + low).contiguous(memory_format=self.layout)


def learning_rate(iteration: int, config: OptimisationConfig) -> float:
    """The learning rate of iteration number `iteration` (from 0): linear warm-up, then a cosine to `lr_min`."""
    if iteration < config.warmup:
        return config.lr * (iteration + 1) / config.warmup
    progress = (iteration - config.warmup) / max(config.iterations - config.warmup, 1)
    return config.lr_min + (config.lr - config.lr_min) * (1 + math.cos(math.pi * progress)) / 2


def named(key: str, create: Callable[..., Any], what: Any, params: Mapping[str, Any] | None = None) -> Any:
    """`create(what, **params)`, with errors that name the key of the configuration."""
    try:
        return create(what, **(params or {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from None


def _start(config: TrainConfig, network: nn.Module) -> None:
    """Give the networks of a run the weights that it is to begin with."""
    if not isinstance(network, Refinement):
        _load_weights(network, config.start_from, "start_from")
        return
    _load_weights(network.network, config.start_from, "start_from")
    if config.predictor is not None:
        _load_weights(network.predictor, config.predictor.start_from, "predictor.start_from")


def _load_weights(network: nn.Module, source: Path | tuple[Path, ...] | None, key: str) -> None:
    """Weights that the files lack, such as those of blocks added since, stay as they are; those they have must all fit."""
    for path in source if isinstance(source, tuple) else (source,):
        if path is None:
            continue
        path = path / "model.safetensors" if path.is_dir() else path
        try:
            weights = {name: value.float() for name, value in load_file(path).items()}
            if not weights:
                raise ValueError("it is empty")
            network.load_state_dict(network.state_dict() | weights)
        except Exception as error:  # safetensors has exceptions of its own for damaged files
            raise ConfigError(f"{key}: {path} does not hold the weights of this network: {reason(error)}") from None
