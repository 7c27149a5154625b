"""The training loop: batches, optimiser, checkpoints, validation, signals.

    fit(task, config, data)                           # to the end
    for step in steps(task, config, data): ...        # the same, one iteration at a time

The loop knows a task by `rebridge.training.task.Trainable` only. Everything random is a pure function of (seed, number of the
sample), so a run that is stopped and resumed ends, on the CPU, with the same bits as one that is not.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import Dataset

from rebridge.data.seeds import seed_of
from rebridge.images.atomic import reason
from rebridge.training import checkpoints
from rebridge.training.checkpoints import Checkpoint, CheckpointError
from rebridge.training.config import FitConfig
from rebridge.training.data import Awaited, BatchIndices, batches, endless
from rebridge.training.interruptions import stop_signals
from rebridge.training.keeping import RunFolder, Tensors
from rebridge.training.logging import RunLog, begin_line
from rebridge.training.parallel import strategy
from rebridge.training.runtime import Runtime, TaskLoss
from rebridge.training.task import Trainable, Validation

OptimizerFactory = Callable[[Iterable[torch.nn.Parameter]], Optimizer]
RateSchedule = Callable[[int], float]


class TrainingError(ValueError):
    """A run that cannot go on; the message is one sentence."""


@dataclass(frozen=True)
class TrainResult:
    """The end of a run.

    Attributes:
        iterations: iterations done, those of earlier runs included.
        model: what was exported, such as a model folder; None where the run was stopped.
        psnr: the last metrics of validation, for images PSNRs in dB by name.
    """

    iterations: int
    model: Path | None
    psnr: dict[str, float]


@dataclass(frozen=True)
class Step:
    """One iteration that is done.

    Attributes:
        iteration: how many iterations are done, those of earlier runs included.
        loss: of its last batch on this process, a scalar without gradients.
        lr: the learning rate of the first parameter group.
        validation: metrics, where this iteration ended with a validation.
        checkpoint: the folder, where this iteration ended with a checkpoint.
    """

    iteration: int
    loss: Tensor
    lr: float
    validation: dict[str, float] | None = None
    checkpoint: Path | None = None


StepCallback = Callable[[Step], object]


def fit(
    task: Trainable,
    config: FitConfig,
    data: Dataset[Any],
    *,
    optimizer: OptimizerFactory | None = None,
    schedule: RateSchedule | None = None,
    callbacks: Sequence[StepCallback] = (),
    workers: int = 0,
    resume: bool = False,
) -> TrainResult:
    """Train until the last iteration.

    SIGTERM, SIGHUP or Ctrl-C end a run earlier, after a last checkpoint.

    Args:
        task: what is trained, on which loss.
        config: iterations, batch, intervals, precision, output folder.
        data: samples by number, batched by torch's default rule. A data set with a length is repeated, in a new order each time;
            one without must answer any number.
        optimizer: makes the optimiser of the module's parameters; by default AdamW as `config.optimisation` says.
        schedule: the learning rate of iteration number i, from 0; by default that of `config.optimisation`, or, with an
            optimiser of your own, whatever that has.
        callbacks: called with each `Step`.
        workers: processes that prepare samples.
        resume: continue from the newest usable checkpoint in `config.output`, from the beginning where there is none.

    Raises:
        CheckpointError: checkpoints that do not fit or are in the way of a new run, or another run in the same folder.
        TrainingError: the loss is no longer finite; the last checkpoint was made before.
    """
    run = Fit(task, config, data, optimizer, schedule, callbacks, workers, resume)
    for _ in run.steps():
        pass
    return run.result


def steps(task: Trainable, config: FitConfig, data: Dataset[Any], **options: Any) -> Iterator[Step]:
    """Train, and hand out each iteration once it is done.

    The caller's loop body runs between two iterations.

    Leaving the loop early ends the run where it is; checkpoints are written by the intervals of the configuration.

    Args:
        task, config, data, options: of `fit`.
    """
    named = {"optimizer": None, "schedule": None, "callbacks": (), "workers": 0, "resume": False} | options
    return Fit(task, config, data, **named).steps()


class Fit:
    """One run: a task with its optimiser, batches and log.

    See `fit` for the arguments.
    """

    def __init__(
        self,
        task: Trainable,
        config: FitConfig,
        data: Dataset[Any],
        optimizer: OptimizerFactory | None,
        schedule: RateSchedule | None,
        callbacks: Sequence[StepCallback],
        workers: int,
        resume: bool,
    ) -> None:
        self.task, self.config, self.callbacks = task, config, list(callbacks)
        self.runtime = Runtime(config)
        self.parallel = strategy(self.runtime, config.optimisation.accumulate)
        self.folder = RunFolder(config, self.runtime.processes, self.runtime.main)
        try:
            self._prepare(data, optimizer, schedule, workers, resume)
        except BaseException:
            self.folder.release()
            raise

    def _prepare(
        self,
        data: Dataset[Any],
        optimizer: OptimizerFactory | None,
        schedule: RateSchedule | None,
        workers: int,
        resume: bool,
    ) -> None:
        task, config, sizes = self.task, self.config, self.config.optimisation
        checkpoint = self.folder.latest(resume)
        self.start = checkpoint.iteration if checkpoint else 0
        self.validation: dict[str, float] = {}
        self.validated = self.start
        task.to(self.runtime.device)
        if checkpoint:
            self._load(checkpoint)
        else:
            self.folder.remember(task.state_dict())
        self.model = self.parallel.wrap(TaskLoss(task))
        self.optimizer = (optimizer or sizes.optimizer_of)(task.module.parameters())
        self.schedule = schedule or (sizes.learning_rate if optimizer is None else None)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.runtime.device)
        self.loss_count = 0
        if checkpoint:
            self._restore(checkpoint)
        self.indices = BatchIndices.of(config, self.runtime.processes, self.runtime.rank, self.start)
        pinned = workers > 0 and self.runtime.device.type == "cuda"
        self.batches = Awaited(batches(endless(data, config.seed), self.indices, workers, pinned))
        self.runtime.wait()
        self.model, self.stepper = self.parallel.prepare(self.model, self.optimizer)
        self.result = TrainResult(self.start, None, self.validation)

    def steps(self) -> Iterator[Step]:
        """Run every iteration, to the last or to a signal that stops the run."""
        try:
            yield from self._run()
        finally:
            self.folder.release()

    def _run(self) -> Iterator[Step]:
        config, iterations = self.config, self.config.optimisation.iterations
        pending = self.validated < self.start and (self.start == iterations or self.start % config.validate_every == 0)
        self.log = RunLog(config.output, self.start, iterations, self.runtime.main, pending, config.trackers)
        self.log.awaited = self.batches
        with self.log, stop_signals() as stop:
            self.log.say(
                begin_line(config, self.start, self.task.describe(), self.runtime.processes, self.runtime.device.type)
            )
            if pending:
                self._validate(self.start, checkpoints.checkpoint_folder(config.output, self.start))
            for iteration in range(self.start, iterations):
                loss = self._step(iteration)
                done, last = iteration + 1, iteration + 1 == iterations
                self.log.advance(done)
                if done % config.log_every == 0 or last:
                    self._report(done)
                stopped = not last and self.runtime.any(stop.is_set())
                saved = self._save(done) if done % config.checkpoint_every == 0 or last or stopped else None
                # A run that was told to stop leaves its validation to the one that resumes it.
                due = last or (done % config.validate_every == 0 and not stopped)
                measured = self._validate(done, saved) if due else None
                self.result = TrainResult(done, None, self.validation)
                step = Step(done, loss, self._learning_rate, measured, saved)
                for callback in self.callbacks:
                    callback(step)
                yield step
                if stopped:
                    self.log.say(f"stopped after iteration {done}; --resume continues from there")
                    return
            self._export()

    def _step(self, iteration: int) -> Tensor:
        """One step of the optimiser; returns the loss of the last batch."""
        try:
            loss = self._optimise(iteration)
        except Exception as error:
            explained = self.task.explain(error) if iteration == self.start else error
            if explained is error:
                raise
            raise explained from error
        with self.parallel.whole(self.model):
            self.task.after_step(iteration)
        return loss

    def _optimise(self, iteration: int) -> Tensor:
        accelerator, scaler = self.runtime.accelerator, self.runtime.scaler
        if self.schedule is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule(iteration)
        loss = self.loss_sum
        for part in range(self.config.optimisation.accumulate):
            batch, first = self.runtime.place(next(self.batches)), self.indices.first(iteration, part)
            # a loss that draws from torch's own generator draws the same in a run that was resumed
            torch.manual_seed(seed_of(self.config.seed, "iteration", first))
            with self.parallel.part(self.model, part):
                loss = self.model(batch, first)
                accelerator.backward(loss if scaler is None else scaler.scale(loss))
                if part + 1 == self.config.optimisation.accumulate:
                    self._clip(iteration, loss.detach())
                    if scaler is None:
                        self.stepper.step()
                    else:
                        scaler.step(self.optimizer)
                        scaler.update()
                    self.stepper.zero_grad()
            loss = loss.detach()
            self.loss_sum += loss.double()
            self.loss_count += 1
        return loss

    def _clip(self, iteration: int, loss: Tensor) -> None:
        """Limit the gradients; stop before a step that would spoil the weights, and with them their average."""
        scaler, parameters = self.runtime.scaler, list(self.task.module.parameters())
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        norm = self.parallel.limit(self.model, parameters, self.config.optimisation.clip)
        # A scaler leaves out steps of infinite gradients by itself. The gradients are the same in all processes.
        if scaler is None and not torch.isfinite(norm):
            if not torch.isfinite(loss):
                self._diverged(f"the loss is {float(loss)} at iteration {iteration + 1}")
            self._diverged(
                f"the gradient is {float(norm)}, and by its step the loss is nan at iteration {iteration + 2}"
            )

    def _diverged(self, what: str) -> NoReturn:
        """End the run; where nothing was saved before, the weights that it began with are."""
        self.folder.save_beginning(self._state(0.0, 0, validated=0))
        half = ", or use bf16 or fp32" if self.config.precision == "fp16" else ""
        raise TrainingError(f"{what}; lower optimisation.lr{half}")

    @property
    def _learning_rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _report(self, done: int) -> None:
        """Log the mean loss since the last report."""
        mean = float(self.runtime.mean(self.loss_sum / self.loss_count))
        self.log.report(done, {"loss": mean, "lr": self._learning_rate, **self.task.metrics()})
        if not math.isfinite(mean):
            self._diverged(f"the loss is {mean} at iteration {done}")
        self.loss_sum.zero_()
        self.loss_count = 0

    def _validate(self, done: int, checkpoint: Path | None) -> dict[str, float] | None:
        """Validate on the first process while the others wait; keep the weights if they are the best so far.

        checkpoint: of the same iteration, where there is one; the result is added to it.
        """
        with self.parallel.whole(self.model):
            found = self.task.validate() if self.runtime.main else None
            self._keep(done, checkpoint, found)
        self.runtime.wait()
        return None if found is None else found.metrics

    def _keep(self, done: int, checkpoint: Path | None, found: Validation | None) -> None:
        """Note a validation, with the weights if they are the best so far."""
        if found is not None:
            self.validation = found.metrics
            if found.score is not None and math.isfinite(found.score) and found.score > self.folder.best_score:
                state = {"psnr": found.metrics, "score": found.score, "config": self.config.model_dump(mode="json")}
                self.folder.save_best(done, self._looked_at(self.task.state_dict(), done), state)
            self.log.report(done, found.metrics, found.text)
            self.log.pictures(done, found.pictures)
        self.validated = done
        if checkpoint is not None and self.runtime.main:
            checkpoints.update_state(checkpoint, psnr=self.validation, validated=done)

    def _save(self, done: int) -> Path:
        """Write a checkpoint of this moment, unless something in it is not finite."""
        loss_sum = float(self.runtime.mean(self.loss_sum))
        optimizer = self.parallel.optimizer_tensors(self.model, self.optimizer, self.task.module)
        with self.parallel.whole(self.model):
            tensors = self._looked_at({**self.task.state_dict(), "optimizer": optimizer}, done)
            saved = self.folder.save(done, tensors, self._state(loss_sum, self.loss_count, self.validated))
        self.runtime.wait()
        return saved

    def _looked_at(self, tensors: Tensors, done: int) -> Tensors:
        """The tensors, all of them finite; TrainingError where one is not."""
        bad = checkpoints.first_not_finite(tensors)
        if bad is not None:
            self._diverged(f"{bad} is not finite after iteration {done}")
        return tensors

    def _state(self, loss: float, count: int, validated: int) -> dict[str, Any]:
        """The content of a checkpoint's state.json: sum and number of the losses since the last report, and the rest."""
        scaler = self.runtime.scaler
        return {
            "loss": {"sum": loss, "count": count},
            "psnr": self.validation,
            "validated": validated,
            "processes": self.runtime.processes,
            "config": self.config.model_dump(mode="json"),
            **({} if scaler is None else {"scaler": scaler.state_dict()}),
        }

    def _export(self) -> None:
        """Write the result: of the last weights, or of the best ones."""
        model, metrics = None, self.validation
        with self.parallel.whole(self.model):
            if self.runtime.main:
                if self.config.export == "best":
                    metrics = self._take_best()
                model = self.task.export(self.config.output, metrics)
        self.runtime.wait()
        # every process names a result: the command's exit code says whether the run came to its end
        self.result = TrainResult(self.config.optimisation.iterations, model or self.config.output, metrics)

    def _take_best(self) -> dict[str, float]:
        """Put the best weights into the task; returns their metrics."""
        best = self.folder.best()
        if best is None:
            warnings.warn("export: no validation gave a score, so the last weights are exported", stacklevel=2)
            return self.validation
        self._load(best)
        self.log.say(f"exporting the best weights, those after iteration {best.iteration}")
        return dict(best.state["psnr"])

    def _load(self, checkpoint: Checkpoint) -> None:
        try:
            self.task.load_state_dict(checkpoint.tensors)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"{checkpoint.folder} is of another network: {reason(error)}") from None

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Take back the optimiser and the counts; the weights were loaded before they were divided."""
        state = checkpoint.state
        try:
            kept = checkpoint.tensors["optimizer"]
            self.parallel.load_optimizer(self.model, self.optimizer, self.task.module, kept)
            self.loss_sum.fill_(float(state["loss"]["sum"]))
            self.loss_count = int(state["loss"]["count"])
            self.validation = {str(name): float(value) for name, value in state["psnr"].items()}
            self.validated = int(state.get("validated", checkpoint.iteration))
            if self.runtime.scaler is not None and "scaler" in state:
                self.runtime.scaler.load_state_dict(state["scaler"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{checkpoint.folder} is damaged: its state is of another form") from error
