"""Training the condition of a latent prior: a ControlNet beside a frozen UNet, the one part that IRBridge trains.

    loss = |output(F z0 + S eps, j, y) - target|^2,      z0 = encode(x0),  j uniform over the prior's T indices

with the target that the pipeline's scheduler asks for (eps, v or z0). The degraded image y is the ControlNet's own input; prompt
and guidance are those of restoring, empty and none. Defaults are the recipe of arXiv 2505.24406, appendix C.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rebridge.data import Pair
from rebridge.data.seeds import generator_of
from rebridge.evaluation.metrics import psnr
from rebridge.images.atomic import reason
from rebridge.networks.layers import pad_to_multiple
from rebridge.irbridge import IRBridgeRestorer, PriorError, load_prior
from rebridge.models.diffusers import DiffusersPrior, new_controlnet, training_target
from rebridge.training.config import AdamConfig, NotNegative, Positive, RunConfig
from rebridge.training.loop import Loop, TrainingError, TrainResult
from rebridge.training.stream import tasks_of

FOLDER = "controlnet"
"""Where in the output the trained ControlNet is saved."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class ControlNetOptimisation(AdamConfig):
    """After the warm-up the learning rate is constant."""

    iterations: Positive = 10_000
    batch: Positive = 12
    lr: Annotated[float, Field(gt=0)] = 5e-5
    warmup: NotNegative = 500
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2


class ControlNetConfig(RunConfig):
    """A run that trains a ControlNet.

    prior: folder or hub id of a Stable Diffusion pipeline; its weights stay as they are, kept in `precision`.
    start_from: a ControlNet to go on from; by default one that begins as a copy of the UNet's encoder.
    preset, steps: how validation pairs are restored. gradient_checkpointing: less memory, slower.
    """

    kind: Literal["controlnet"] = "controlnet"
    prior: str
    start_from: str | None = None
    variant: str | None = None
    prompt: str = ""
    optimisation: ControlNetOptimisation = ControlNetOptimisation()
    precision: Literal["fp32", "bf16", "fp16"] = "fp16"
    gradient_checkpointing: bool = False
    preset: Literal["paper", "sound"] = "paper"
    steps: Annotated[int, Field(ge=2)] = 25
    validate_every: Positive = 1000
    checkpoint_every: Positive = 500
    keep_checkpoints: Positive = 2


def train_controlnet(config: ControlNetConfig, resume: bool = False) -> TrainResult:
    """Train until the last iteration, or until SIGTERM or Ctrl-C, which leave a checkpoint behind.

    resume: continue from the newest usable checkpoint in `config.output`. In the end the folder `controlnet` there holds the
    result as diffusers saves it: for `load_prior(..., controlnet=...)` and for any pipeline of diffusers. Raises
    ConfigError, PriorError or CheckpointError, one sentence each.
    """
    return ControlNetRun(config, resume).run()


class ControlNetRun(Loop[ControlNetConfig]):
    """A run that trains a ControlNet beside a frozen pipeline."""

    what: ClassVar[str] = "ControlNet"

    def build(self) -> nn.Module:
        """The prior, and the ControlNet."""
        self.prior = _frozen_prior(self.config, self.device)
        torch.manual_seed(self.config.seed)
        control = new_controlnet(self.prior, self.config.start_from).to(self.device, torch.float32).train()
        control.requires_grad_(True)
        if self.config.gradient_checkpointing:
            control.enable_gradient_checkpointing()
        return control

    def loss(self, pair: Pair, first: int) -> Tensor:
        """Mean squared error of the prior's raw output."""
        clean, degraded = pair.clean, pair.degraded
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

    def validate(self, done: int) -> None:
        """Restore the validation pairs as a user would, on the first process only."""
        scores: dict[str, list[float]] = {}
        self.prior.controlnet = self.network.eval()
        restore = IRBridgeRestorer(self.prior, self.config.preset)
        for pair in self.validation:
            with self.accelerator.autocast():
                restored = restore.for_task(pair.task)(
                    pair.degraded[None], steps=self.config.steps, seed=self.config.seed
                )
            scores.setdefault(pair.task, []).append(psnr(restored, pair.clean[None]).item())
        self.network.train()
        if scores:
            self.psnr = {f"psnr/{task}": sum(values) / len(values) for task, values in scores.items()}
            self.journal.report(done, self.psnr, "  ".join(f"{k[5:]} {v:.2f} dB" for k, v in self.psnr.items()))

    def kept(self) -> dict[str, Mapping[str, Tensor]]:
        """The ControlNet's weights."""
        return {"controlnet": self.network.state_dict()}

    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """The ControlNet's weights."""
        self.network.load_state_dict(tensors["controlnet"])

    def export(self) -> Path:
        """Write the ControlNet as diffusers does, with a card; the folder appears whole or not at all."""
        folder = self.config.output / FOLDER
        if self.accelerator.is_main_process:
            partial = folder.with_name(f".{FOLDER}.part")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                control: Any = self.network
                control.save_pretrained(partial)
                (partial / "README.md").write_text(_card(self.config, self.psnr), encoding="utf-8")
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
            except OSError as error:
                raise TrainingError(f"cannot save the ControlNet in {folder}: {reason(error)}") from None
        return folder

    def subject(self) -> str:
        """ControlNet and prior."""
        return f"ControlNet ({self.parameters:,} parameters) on {self.config.prior}"

    def _index(self, number: int) -> int:
        generator = generator_of(self.config.seed, "index", number)
        return int(torch.randint(self.prior.process.steps, (), generator=generator))

    def _noise(self, number: int, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator_of(self.config.seed, "noise", number))


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
