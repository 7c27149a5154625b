"""The loop that every training run shares: processes, batches, optimiser, checkpoints, signals.

What is trained, on which loss, how it is checked and what is kept in the end is for `Run` (denoisers of bridges, pixel
priors) and `ControlNetRun` (the condition of a diffusers pipeline) to say. Everything random is a pure function of (seed, number
of the sample), so a run that is stopped and resumed ends, on the CPU, with the same bits as one that is not.
"""

import math
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Generic, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from rebridge.data import Pair
from rebridge.images.atomic import reason
from rebridge.training import checkpoints
from rebridge.training.checkpoints import Checkpoint, CheckpointError
from rebridge.training.config import RunConfig
from rebridge.training.journal import Journal
from rebridge.training.reading import ConfigError
from rebridge.training.stream import BatchIndices, batches, training_pairs, validation_pairs

Config = TypeVar("Config", bound=RunConfig)


class TrainingError(ValueError):
    """A run that cannot go on; the message is one sentence."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: iterations done, the exported model folder (None where it was stopped), the last PSNRs in dB."""

    iterations: int
    model: Path | None
    psnr: dict[str, float]


class Loop(Generic[Config]):
    """The parts of one run, and what is done with them in an iteration.

    network: what is trained, made by `build`; model: the same, as the processes share it. pairs, validation: what it is
    trained and checked on. start: iterations that an earlier run has done.
    """

    what: ClassVar[str] = "network"

    def __init__(self, config: Config, resume: bool) -> None:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.config = config
        optimisation = config.optimisation
        self.accelerator = _accelerator(config)
        self.device = self.accelerator.device
        checkpoint = self._checkpoint(resume)
        self.start = checkpoint.iteration if checkpoint else 0
        self.psnr: dict[str, float] = {}

        torch.manual_seed(config.seed)
        self.network = self.build()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=optimisation.lr,
            betas=optimisation.betas,
            eps=optimisation.eps,
            weight_decay=optimisation.weight_decay,
        )
        self.loss_sum, self.loss_count = torch.zeros((), dtype=torch.float64, device=self.device), 0
        if checkpoint:
            self._restore(checkpoint)

        self.pairs = training_pairs(config.data, config.seed)
        self.validation = validation_pairs(config.data, config.seed) if self.accelerator.is_main_process else []
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        self.indices = BatchIndices(
            optimisation.batch, optimisation.accumulate, processes, rank, self.start, optimisation.iterations
        )
        self.batches = batches(self.pairs, self.indices, config.data.workers)
        self.model, self.stepper = self.accelerator.prepare(self.compiled(), self.optimizer)

    def build(self) -> nn.Module:
        """What is trained, on the device, with the weights that training begins with."""
        raise NotImplementedError

    def compiled(self) -> nn.Module:
        """The network as it is called in training."""
        return self.network

    def loss(self, pair: Pair, first: int) -> Tensor:
        """The loss of a batch, samples number `first` on: a scalar with gradients."""
        raise NotImplementedError

    def learning_rate(self, iteration: int) -> float:
        """Of iteration number `iteration`, from 0."""
        raise NotImplementedError

    def figures(self) -> dict[str, float]:
        """What is reported beside the loss and the learning rate."""
        return {}

    def validate(self, done: int) -> None:
        """Restore the validation pairs, on the first process only, and keep the figures in `psnr`."""
        raise NotImplementedError

    def kept(self) -> dict[str, Mapping[str, Tensor]]:
        """The tensors of a checkpoint, by file, beside those of the optimiser."""
        raise NotImplementedError

    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take back what `kept` gave; KeyError or RuntimeError where it does not fit."""
        raise NotImplementedError

    def export(self) -> Path:
        """Write the result, on the first process only; returns its folder."""
        raise NotImplementedError

    def subject(self) -> str:
        """What is trained, in a few words for the first line of a run."""
        raise NotImplementedError

    def run(self) -> TrainResult:
        """From where it starts to its last iteration, or to the signal that stops it after a checkpoint."""
        config, iterations = self.config, self.config.optimisation.iterations
        config.output.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(config.output, self.start, iterations, self.accelerator.is_main_process)
        with self.journal, stop_signals() as stop:
            self.journal.say(self.description())
            for iteration in range(self.start, iterations):
                self.step(iteration)
                done = iteration + 1
                last = done == iterations
                self.journal.advance(done)
                if done % config.log_every == 0 or last:
                    self.report(done)
                if done % config.validate_every == 0 or last:
                    self.validate(done)
                    self.accelerator.wait_for_everyone()
                stopped = not last and self._agreed(stop.is_set())
                if done % config.checkpoint_every == 0 or last or stopped:
                    self.save(done)
                if stopped:
                    self.journal.say(f"stopped after iteration {done}; --resume continues from there")
                    return TrainResult(done, None, self.psnr)
            folder = self.export()
            self.accelerator.wait_for_everyone()
            return TrainResult(iterations, folder, self.psnr)

    def step(self, iteration: int) -> None:
        """One step of the optimiser."""
        optimisation = self.config.optimisation
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(iteration)
        for part in range(optimisation.accumulate):
            pair = next(self.batches)
            with self.accelerator.accumulate(self.model):
                loss = self.loss(pair, self.indices.first(iteration, part))
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients and optimisation.clip is not None:
                    self.accelerator.clip_grad_norm_(self.network.parameters(), optimisation.clip)
                self.stepper.step()
                self.stepper.zero_grad()
            self.loss_sum += loss.detach().double()
            self.loss_count += 1

    def report(self, done: int) -> None:
        """Log the mean loss since the last report."""
        mean = float(self.accelerator.reduce(self.loss_sum / self.loss_count, reduction="mean"))
        self.journal.report(done, {"loss": mean, "lr": self.learning_rate(done - 1), **self.figures()})
        if not math.isfinite(mean):
            half = ", or use bf16 or fp32" if self.config.precision == "fp16" else ""
            raise TrainingError(f"the loss is {mean} at iteration {done}; lower optimisation.lr{half}")
        self.loss_sum.zero_()
        self.loss_count = 0

    def save(self, done: int) -> None:
        """Write a checkpoint of this moment."""
        loss_sum = self.accelerator.reduce(self.loss_sum, reduction="mean")
        if self.accelerator.is_main_process:
            tensors = {**self.kept(), "optimizer": checkpoints.optimizer_tensors(self.optimizer, self.network)}
            state: dict[str, Any] = {
                "loss": {"sum": float(loss_sum), "count": self.loss_count},
                "psnr": self.psnr,
                "config": self.config.model_dump(mode="json"),
            }
            if self.accelerator.scaler is not None:
                state["scaler"] = self.accelerator.scaler.state_dict()
            checkpoints.save_checkpoint(self.config.output, done, tensors, state, self.config.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def description(self) -> str:
        """What is about to happen, in one line."""
        config, accelerator = self.config, self.accelerator
        pairs = config.optimisation.batch * config.optimisation.accumulate * accelerator.num_processes
        begin = f"resuming after iteration {self.start}" if self.start else "starting"
        return (
            f"{begin}: {self.subject()}, {pairs} pairs of "
            f"{config.data.patch}x{config.data.patch} per iteration, {config.optimisation.iterations} iterations, "
            f"{accelerator.num_processes} x {self.device.type}, {config.precision}; output in {config.output}"
        )

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def _agreed(self, stop: bool) -> bool:
        """Whether any process was asked to stop, so that all of them stop after the same iteration."""
        if self.accelerator.num_processes == 1:
            return stop
        return bool(self.accelerator.reduce(torch.tensor(float(stop), device=self.device), reduction="sum") > 0)

    def _checkpoint(self, resume: bool) -> Checkpoint | None:
        output = self.config.output
        if resume:
            return checkpoints.latest_checkpoint(output)
        if checkpoints.checkpoint_folders(output):
            raise CheckpointError(f"{output} holds checkpoints of an earlier run: resume it, or choose another output")
        return None

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            self.restore(checkpoint.tensors)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"{checkpoint.folder} is of another {self.what}: {reason(error)}") from None
        checkpoints.load_optimizer(self.optimizer, self.network, checkpoint.tensors["optimizer"])
        self.loss_sum.fill_(checkpoint.state["loss"]["sum"])
        self.loss_count = checkpoint.state["loss"]["count"]
        self.psnr = checkpoint.state["psnr"]
        if self.accelerator.scaler is not None and "scaler" in checkpoint.state:
            self.accelerator.scaler.load_state_dict(checkpoint.state["scaler"])


def _accelerator(config: RunConfig) -> Accelerator:
    # accelerate keeps the precision of the first run in a process; without this a second one could not differ
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision="no" if config.precision == "fp32" else config.precision,
        gradient_accumulation_steps=config.optimisation.accumulate,
        cpu=config.device == "cpu",
    )
    if config.precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError("precision: fp16 needs a GPU; use bf16 or fp32")
    return accelerator


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
