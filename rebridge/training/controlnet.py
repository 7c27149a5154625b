"""Training the condition of a latent prior: a ControlNet beside a frozen UNet, the one part that IRBridge trains.

    loss = |output(F z0 + S eps, j, y) - target|^2,      z0 = encode(x0),  j uniform over the prior's T indices

with the target that the pipeline's scheduler asks for (eps, v or z0). The degraded image y is the ControlNet's own input; prompt
and guidance are those of restoring, empty and none. Defaults are the recipe of arXiv 2505.24406, appendix C.

As in `rebridge.training.trainer`, everything random is a pure function of (seed, number of the sample): a run that is stopped and
resumed ends, on the CPU, with the same bits as one that is not.
"""

import math
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from pydantic import Field
from torch import Tensor

from rebridge.data.seeds import generator_of
from rebridge.files import reason
from rebridge.networks.layers import pad_to_multiple
from rebridge.priors import IRBridgeRestorer, PriorError, load_prior
from rebridge.priors.diffusers import DiffusersPrior, new_controlnet, training_target
from rebridge.training import checkpoints
from rebridge.training.checkpoints import Checkpoint, CheckpointError
from rebridge.training.config import DataConfig, NotNegative, Positive, Section
from rebridge.training.journal import Journal
from rebridge.training.reading import ConfigError
from rebridge.training.stream import BatchIndices, batches, tasks_of, training_pairs, validation_pairs
from rebridge.training.trainer import TrainingError, TrainResult, drive
from rebridge.training.validation import psnr

FOLDER = "controlnet"
"""Where in the output the trained ControlNet is saved."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class ControlNetOptimisation(Section):
    """AdamW with linear warm-up, then constant.

    batch: pairs per process and pass; an iteration sees batch * accumulate * processes pairs.
    """

    iterations: Positive = 10_000
    batch: Positive = 12
    accumulate: Positive = 1
    lr: Annotated[float, Field(gt=0)] = 5e-5
    warmup: NotNegative = 500
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    eps: Annotated[float, Field(gt=0)] = 1e-8
    clip: Annotated[float, Field(gt=0)] | None = 1.0


class ControlNetConfig(Section):
    """A run that trains a ControlNet. Folders are relative to the working directory.

    prior: folder or hub id of a Stable Diffusion pipeline; its weights stay as they are, kept in `precision`.
    start_from: a ControlNet to go on from; by default one that begins as a copy of the UNet's encoder.
    preset, steps: how validation pairs are restored. gradient_checkpointing: less memory, slower.
    """

    kind: Literal["controlnet"] = "controlnet"
    prior: str
    start_from: str | None = None
    variant: str | None = None
    prompt: str = ""
    data: DataConfig
    optimisation: ControlNetOptimisation = ControlNetOptimisation()
    precision: Literal["fp32", "bf16", "fp16"] = "fp16"
    gradient_checkpointing: bool = False
    preset: Literal["paper", "sound"] = "paper"
    steps: Annotated[int, Field(ge=2)] = 25
    device: Literal["auto", "cpu"] = "auto"
    threads: Positive | None = None
    seed: NotNegative = 0
    output: Path
    log_every: Positive = 50
    validate_every: Positive = 1000
    checkpoint_every: Positive = 500
    keep_checkpoints: Positive = 2


def train_controlnet(config: ControlNetConfig, resume: bool = False) -> TrainResult:
    """Train until the last iteration, or until SIGTERM or Ctrl-C, which leave a checkpoint behind.

    resume: continue from the newest usable checkpoint in `config.output`. In the end the folder `controlnet` there holds the
    result as diffusers saves it: for `load_prior(..., controlnet=...)` and for any pipeline of diffusers. Raises
    ConfigError, PriorError or CheckpointError, one sentence each.
    """
    return drive(ControlNetRun(config, resume), config)


class ControlNetRun:
    """The parts of one run, and what is done with them in an iteration."""

    def __init__(self, config: ControlNetConfig, resume: bool) -> None:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.config = config
        optimisation = config.optimisation
        self.accelerator = _accelerator(config)
        self.device = self.accelerator.device
        checkpoint = self._checkpoint(resume)
        self.start = checkpoint.iteration if checkpoint else 0
        self.psnr: dict[str, float] = {}

        self.prior = _frozen_prior(config, self.device)
        torch.manual_seed(config.seed)
        self.control = new_controlnet(self.prior, config.start_from).to(self.device, torch.float32).train()
        self.control.requires_grad_(True)
        if config.gradient_checkpointing:
            self.control.enable_gradient_checkpointing()
        self.optimizer = torch.optim.AdamW(
            self.control.parameters(),
            lr=optimisation.lr,
            betas=optimisation.betas,
            eps=optimisation.eps,
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
        self.model, self.stepper = self.accelerator.prepare(self.control, self.optimizer)
        config.output.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(config.output, self.start, optimisation.iterations, main)

    def step(self, iteration: int) -> None:
        """One step of the optimiser."""
        optimisation = self.config.optimisation
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(iteration)
        for part in range(optimisation.accumulate):
            pair = next(self.batches)
            with self.accelerator.accumulate(self.model):
                loss = self.loss(pair.clean, pair.degraded, self.indices.first(iteration, part))
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients and optimisation.clip is not None:
                    self.accelerator.clip_grad_norm_(self.control.parameters(), optimisation.clip)
                self.stepper.step()
                self.stepper.zero_grad()
            self.loss_sum += loss.detach().double()
            self.loss_count += 1

    def loss(self, clean: Tensor, degraded: Tensor, first: int) -> Tensor:
        """Mean squared error of the network's raw output for pairs (B, 3, H, W) in [0, 1], samples number `first` on."""
        z0 = self.prior.encode(clean)
        index = torch.tensor([self._index(first + place) for place in range(len(clean))], device=self.device)
        noise = torch.stack([self._noise(first + place, z0[0]) for place in range(len(clean))]).to(z0)
        c = self.prior.process.coefficients((index.double() + 1) / self.prior.process.steps).like(z0)
        z = c.alpha * z0 + c.gamma * noise
        control = pad_to_multiple(degraded, self.prior.multiple).to(self.device)
        self.prior.controlnet = self.model
        with self.accelerator.autocast():
            output = self.prior.output(z, index, control)
        return (output.float() - training_target(z0, noise, c, self.prior.prediction)).square().mean()

    def learning_rate(self, iteration: int) -> float:
        """Linear warm-up, then constant."""
        optimisation = self.config.optimisation
        return optimisation.lr * min(1.0, (iteration + 1) / max(optimisation.warmup, 1))

    def report(self, done: int) -> None:
        """Log the mean loss since the last report."""
        mean = float(self.accelerator.reduce(self.loss_sum / self.loss_count, reduction="mean"))
        self.journal.report(done, {"loss": mean, "lr": self.learning_rate(done - 1)})
        if not math.isfinite(mean):
            raise TrainingError(f"the loss is {mean} at iteration {done}; lower optimisation.lr, or use bf16 or fp32")
        self.loss_sum.zero_()
        self.loss_count = 0

    def validate(self, done: int) -> None:
        """Restore the validation pairs as a user would, on the first process only."""
        scores: dict[str, list[float]] = {}
        self.prior.controlnet = self.control.eval()
        restore = IRBridgeRestorer(self.prior, self.config.preset)
        for pair in self.validation:
            with self.accelerator.autocast():
                restored = restore.for_task(pair.task)(
                    pair.degraded[None], steps=self.config.steps, seed=self.config.seed
                )
            scores.setdefault(pair.task, []).append(psnr(restored[0], pair.clean))
        self.control.train()
        if scores:
            self.psnr = {f"psnr/{task}": sum(values) / len(values) for task, values in scores.items()}
            self.journal.report(done, self.psnr, "  ".join(f"{k[5:]} {v:.2f} dB" for k, v in self.psnr.items()))
        self.accelerator.wait_for_everyone()

    def save(self, done: int) -> None:
        """Write a checkpoint of this moment."""
        loss_sum = self.accelerator.reduce(self.loss_sum, reduction="mean")
        if self.accelerator.is_main_process:
            tensors = {
                "controlnet": self.control.state_dict(),
                "optimizer": checkpoints.optimizer_tensors(self.optimizer, self.control),
            }
            state: dict[str, Any] = {
                "loss": {"sum": float(loss_sum), "count": self.loss_count},
                "psnr": self.psnr,
                "config": self.config.model_dump(mode="json"),
            }
            if self.accelerator.scaler is not None:
                state["scaler"] = self.accelerator.scaler.state_dict()
            checkpoints.save_checkpoint(self.config.output, done, tensors, state, self.config.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def export(self) -> Path:
        """Write the ControlNet as diffusers does, with a card; the folder appears whole or not at all."""
        folder = self.config.output / FOLDER
        if self.accelerator.is_main_process:
            partial = folder.with_name(f".{FOLDER}.part")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                self.control.save_pretrained(partial)
                (partial / "README.md").write_text(_card(self.config, self.psnr), encoding="utf-8")
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
            except OSError as error:
                raise TrainingError(f"cannot save the ControlNet in {folder}: {reason(error)}") from None
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
        parameters = sum(parameter.numel() for parameter in self.control.parameters())
        begin = f"resuming after iteration {self.start}" if self.start else "starting"
        return (
            f"{begin}: ControlNet ({parameters:,} parameters) on {config.prior}, {pairs} pairs of "
            f"{config.data.patch}x{config.data.patch} per iteration, {config.optimisation.iterations} iterations, "
            f"{accelerator.num_processes} x {self.device.type}, {config.precision}; output in {config.output}"
        )

    def _index(self, number: int) -> int:
        generator = generator_of(self.config.seed, "index", number)
        return int(torch.randint(self.prior.process.steps, (), generator=generator))

    def _noise(self, number: int, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator_of(self.config.seed, "noise", number))

    def _checkpoint(self, resume: bool) -> Checkpoint | None:
        output = self.config.output
        if resume:
            return checkpoints.latest_checkpoint(output)
        if checkpoints.checkpoint_folders(output):
            raise CheckpointError(f"{output} holds checkpoints of an earlier run: resume it, or choose another output")
        return None

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            self.control.load_state_dict(checkpoint.tensors["controlnet"])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"{checkpoint.folder} is of another ControlNet: {reason(error)}") from None
        checkpoints.load_optimizer(self.optimizer, self.control, checkpoint.tensors["optimizer"])
        self.loss_sum.fill_(checkpoint.state["loss"]["sum"])
        self.loss_count = checkpoint.state["loss"]["count"]
        self.psnr = checkpoint.state["psnr"]
        if self.accelerator.scaler is not None and "scaler" in checkpoint.state:
            self.accelerator.scaler.load_state_dict(checkpoint.state["scaler"])


def _accelerator(config: ControlNetConfig) -> Accelerator:
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


def _frozen_prior(config: ControlNetConfig, device: torch.device) -> DiffusersPrior:
    options: dict[str, Any] = {} if config.variant is None else {"variant": config.variant}
    prior = load_prior(config.prior, device=device, dtype=DTYPES[config.precision], prompt=config.prompt, **options)
    if not isinstance(prior, DiffusersPrior) or prior.vae is None:
        raise PriorError(f"'{config.prior}' takes no ControlNet; use a Stable Diffusion pipeline")
    prior.vae.requires_grad_(False)
    return prior


def _card(config: ControlNetConfig, figures: dict[str, float]) -> str:
    tasks = tasks_of(config.data)
    measured = "\n".join(
        f"- {name.removeprefix('psnr/')}: {value:.2f} dB in validation" for name, value in figures.items()
    )
    return f"""---
library_name: diffusers
base_model: {config.prior}
tags: [controlnet, image-restoration, rebridge]
---

# ControlNet for IRBridge: {", ".join(tasks)}

The condition of a Stable Diffusion prior on the degraded image, {config.optimisation.iterations} iterations.

    rebridge restore photos -o restored --method irbridge --model {config.prior} \\
        --controlnet THIS_FOLDER --task {tasks[0]}

{measured}
"""
