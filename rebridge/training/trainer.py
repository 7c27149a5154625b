"""Training a denoiser: configuration, data, model, loop.

`train(load_config("configs/rdbm-tiny.yaml"))` trains on whatever machine there is; `accelerate launch` (or torchrun)
runs the same on many processes. Everything random is a pure function of (seed, number of the sample), so a run that
is stopped and resumed ends, on the CPU, with the same bits as one that is not.
"""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor, nn

from rebridge import bridges, hub, samplers
from rebridge.bridges.diffusion import Generative
from rebridge.files import reason
from rebridge.training import checkpoints
from rebridge.training.checkpoints import Checkpoint, CheckpointError
from rebridge.training.config import ConfigError, OptimisationConfig, TrainConfig
from rebridge.training.ema import Ema
from rebridge.training.journal import Journal
from rebridge.training.objectives import guide_loss
from rebridge.training.recipes import Refinement, build_network, recipe_of
from rebridge.training.stream import BatchIndices, batches, tasks_of, training_pairs, validation_pairs
from rebridge.training.validation import validate

EXPORTED = ("bridge", "network", "sampler", "output")
"""Keys of the configuration that a model folder has elsewhere, or has no use for."""


class TrainingError(ValueError):
    """A run that cannot go on; the message is one sentence."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: iterations done, the exported model folder (None where it was stopped), the last PSNRs in dB."""

    iterations: int
    model: Path | None
    psnr: dict[str, float]


def train(config: TrainConfig, resume: bool = False) -> TrainResult:
    """Train until `config.optimisation.iterations`, or until SIGTERM or Ctrl-C, which leave a checkpoint behind.

    resume: continue from the newest usable checkpoint in `config.output` (from the beginning where there is none).
    Writes checkpoints, `log.jsonl` and TensorBoard files there, and in the end the model folder `model`, with the
    averaged weights. Raises ConfigError for a configuration that does not fit the data or the catalogue,
    CheckpointError for checkpoints that do not fit the configuration.
    """
    return drive(Run(config, resume), config)


class Loop(Protocol):
    """What `drive` needs of a run, whatever is trained."""

    start: int
    psnr: dict[str, float]
    journal: Journal

    def description(self) -> str: ...
    def step(self, iteration: int) -> None: ...
    def report(self, done: int) -> None: ...
    def validate(self, done: int) -> None: ...
    def save(self, done: int) -> None: ...
    def agreed(self, stop: bool) -> bool: ...
    def export(self) -> Path: ...


class Pace(Protocol):
    """How long a run is and how often it says, checks and saves something."""

    optimisation: Any
    log_every: int
    validate_every: int
    checkpoint_every: int


def drive(run: Loop, pace: Pace) -> TrainResult:
    """Walk a run from where it starts to its last iteration, or to the signal that stops it after a checkpoint."""
    iterations: int = pace.optimisation.iterations
    with run.journal, stop_signals() as stop:
        run.journal.say(run.description())
        for iteration in range(run.start, iterations):
            run.step(iteration)
            done = iteration + 1
            last = done == iterations
            run.journal.advance(done)
            if done % pace.log_every == 0 or last:
                run.report(done)
            if done % pace.validate_every == 0 or last:
                run.validate(done)
            stopped = not last and run.agreed(stop.is_set())
            if done % pace.checkpoint_every == 0 or last or stopped:
                run.save(done)
            if stopped:
                run.journal.say(f"stopped after iteration {done}; --resume continues from there")
                return TrainResult(done, None, run.psnr)
        return TrainResult(iterations, run.export(), run.psnr)


class Run:
    """The parts of one training run, and what is done with them in an iteration."""

    def __init__(self, config: TrainConfig, resume: bool) -> None:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.config = config
        optimisation = config.optimisation
        # accelerate keeps the precision of the first run in a process; without this a second one could not differ.
        AcceleratorState._reset_state()
        self.accelerator = Accelerator(
            mixed_precision="bf16" if config.precision == "bf16" else "no",
            gradient_accumulation_steps=optimisation.accumulate,
            cpu=config.device == "cpu",
        )
        self.device = self.accelerator.device
        checkpoint = self._checkpoint(resume)
        self.start = checkpoint.iteration if checkpoint else 0
        self.psnr: dict[str, float] = {}

        self.bridge = named("bridge", bridges.create, config.bridge.name, config.bridge.params)
        self.sampler = named("sampler", samplers.create, config.sampler.name, config.sampler.params)
        named("sampler", self.sampler.check, self.bridge)
        torch.manual_seed(config.seed)
        self.network = build_network(config, named)
        _start(config, self.network)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.network.to(self.device, memory_format=layout)  # type: ignore[call-overload]
        self.ema = Ema(self.network, optimisation.ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=optimisation.lr,
            betas=optimisation.betas,
            weight_decay=optimisation.weight_decay,
        )
        self.loss_sum, self.loss_count = torch.zeros((), dtype=torch.float64, device=self.device), 0
        if checkpoint:
            self._restore(checkpoint)

        self.pairs = training_pairs(config.data, config.seed)
        main = self.accelerator.is_main_process
        self.validation = validation_pairs(config.data, config.seed) if main else []
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        self.indices = BatchIndices(
            optimisation.batch, optimisation.accumulate, processes, rank, self.start, optimisation.iterations
        )
        self.batches = batches(self.pairs, self.indices, config.data.workers)

        network = torch.compile(self.network, dynamic=False) if config.compile else self.network
        self.model, self.stepper = self.accelerator.prepare(network, self.optimizer)
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
        config.output.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(config.output, self.start, optimisation.iterations, main)

    def step(self, iteration: int) -> None:
        """One step of the optimiser."""
        try:
            self._step(iteration)
        except Exception as error:
            # Compilers fail in the first iteration, with pages of generated code.
            if self.config.compile and iteration == self.start and not isinstance(error, ValueError):
                raise ConfigError(
                    f"compile: torch.compile cannot train the network {self.config.network.name!r} on this machine "
                    f"({type(error).__name__}); set compile=false"
                ) from error
            raise

    def _step(self, iteration: int) -> None:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(iteration, config.optimisation)
        for part in range(config.optimisation.accumulate):
            pair = next(self.batches)
            x0, y = self._to_bridge(pair.clean), self._to_bridge(pair.degraded)
            first = self.indices.first(iteration, part)
            with self.accelerator.accumulate(self.model):
                loss = self.recipe.loss(x0, y, first)
                if config.loss.guide:
                    loss = loss + config.loss.guide * guide_loss(self.model, y, pair.task, self.kinds)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients and config.optimisation.clip is not None:
                    self.accelerator.clip_grad_norm_(self.network.parameters(), config.optimisation.clip)
                self.stepper.step()
                self.stepper.zero_grad()
            self.loss_sum += loss.detach().double()
            self.loss_count += 1
        self.ema.update(self.network, iteration)

    def report(self, done: int) -> None:
        """Log the mean loss since the last report."""
        mean = self.accelerator.reduce(self.loss_sum / self.loss_count, reduction="mean")
        rate = learning_rate(done - 1, self.config.optimisation)
        self.journal.report(done, {"loss": float(mean), "lr": rate, **self.recipe.figures()})
        if not math.isfinite(float(mean)):
            raise TrainingError(f"the loss is {float(mean)} at iteration {done}; lower optimisation.lr")
        self.loss_sum.zero_()
        self.loss_count = 0

    def validate(self, done: int) -> None:
        """Restore the validation pairs with the averaged weights, on the first process only."""
        if self.validation:
            given = self.recipe.given
            result = validate(self.bridge, given, self.validation, self.sampler, self.device, self.config.seed)
            self.psnr = result.figures
            self.journal.report(done, result.figures, str(result))
            self.journal.pictures(done, result.pictures)
        self.accelerator.wait_for_everyone()

    def save(self, done: int) -> None:
        """Write a checkpoint of this moment."""
        loss_sum = self.accelerator.reduce(self.loss_sum, reduction="mean")
        if self.accelerator.is_main_process:
            tensors = {
                "model": self.network.state_dict(),
                "ema": self.ema.module.state_dict(),
                "optimizer": checkpoints.optimizer_tensors(self.optimizer, self.network),
            }
            state = {
                "loss": {"sum": float(loss_sum), "count": self.loss_count},
                "psnr": self.psnr,
                "config": self.config.model_dump(mode="json"),
            }
            checkpoints.save_checkpoint(self.config.output, done, tensors, state, self.config.keep_checkpoints)
        self.accelerator.wait_for_everyone()

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
        self.accelerator.wait_for_everyone()
        return folder

    def agreed(self, stop: bool) -> bool:
        """Whether any process was asked to stop, so that all of them stop after the same iteration."""
        if self.accelerator.num_processes == 1:
            return stop
        return bool(self.accelerator.reduce(torch.tensor(float(stop), device=self.device), reduction="sum") > 0)

    def description(self) -> str:
        """What is about to happen, in one line."""
        config, accelerator = self.config, self.accelerator
        pairs = config.optimisation.batch * config.optimisation.accumulate * accelerator.num_processes
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        begin = f"resuming after iteration {self.start}" if self.start else "starting"
        return (
            f"{begin}: {config.network.name} ({parameters:,} parameters), {config.bridge.name}, {pairs} pairs of "
            f"{config.data.patch}x{config.data.patch} per iteration, {config.optimisation.iterations} iterations, "
            f"{accelerator.num_processes} x {self.device.type}, {config.precision}; output in {config.output}"
        )

    def _to_bridge(self, images: Tensor) -> Tensor:
        """Images in [0, 1] on the device, in the bridge's value range."""
        low, high = self.bridge.value_range
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        return (images.to(self.device) * (high - low) + low).contiguous(memory_format=layout)

    def _checkpoint(self, resume: bool) -> Checkpoint | None:
        output = self.config.output
        if resume:
            return checkpoints.latest_checkpoint(output)
        if checkpoints.checkpoint_folders(output):
            raise CheckpointError(f"{output} holds checkpoints of an earlier run: resume it, or choose another output")
        return None

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            self.network.load_state_dict(checkpoint.tensors["model"])
            self.ema.module.load_state_dict(checkpoint.tensors["ema"])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"{checkpoint.folder} is of another network: {reason(error)}") from None
        checkpoints.load_optimizer(self.optimizer, self.network, checkpoint.tensors["optimizer"])
        self.loss_sum.fill_(checkpoint.state["loss"]["sum"])
        self.loss_count = checkpoint.state["loss"]["count"]
        self.psnr = checkpoint.state["psnr"]


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


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, so that the loop can finish its iteration; a second Ctrl-C interrupts."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
