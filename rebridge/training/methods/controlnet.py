"""A ControlNet beside a frozen UNet.

The condition of a latent prior, the one part that IRBridge trains.

    loss = |output(F z0 + S eps, j, y) - target|^2,      z0 = encode(x0),  j uniform over the prior's T indices

with the target that the pipeline's scheduler asks for (eps, v or z0). The degraded image y is the ControlNet's own input; prompt
and guidance are those of restoring, empty and none. Defaults are the recipe of arXiv 2505.24406, appendix C.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rebridge.data import Pair
from rebridge.data.seeds import generator_of
from rebridge.evaluation.metrics import psnr
from rebridge.images.atomic import reason
from rebridge.models import ModelError, load_prior
from rebridge.models.diffusers import DiffusersModel, training_target
from rebridge.models.pipelines import new_controlnet
from rebridge.networks.layers import pad_to_multiple
from rebridge.restoration import Restorer
from rebridge.training.config import AdamConfig, NotNegative, Positive, RunConfig
from rebridge.training.data import tasks_of
from rebridge.training.fit import TrainingError
from rebridge.training.runtime import DTYPES
from rebridge.training.task import Task, Validation, count_parameters

FOLDER = "controlnet"
"""Where in the output the trained ControlNet is saved."""


class ControlNetOptimisation(AdamConfig):
    """AdamW with the settings of the paper.

    After the warm-up the learning rate is constant.
    """

    iterations: Positive = 10_000
    batch: Positive = 12
    lr: Annotated[float, Field(gt=0)] = 5e-5
    warmup: NotNegative = 500
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2


class ControlNetConfig(RunConfig):
    """The settings of a run that trains a ControlNet.

    Attributes:
        prior: folder or hub id of a Stable Diffusion pipeline; its weights stay as they are, kept in `precision`.
        start_from: a ControlNet to go on from; by default one that begins as a copy of the UNet's encoder.
        variant, prompt: of the pipeline.
        gradient_checkpointing: less memory, slower.
        preset, steps: how validation pairs are restored.
    """

    PROBLEM: ClassVar[tuple[str, ...]] = (*RunConfig.PROBLEM, "prior", "variant", "prompt")

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


class ControlNetTraining(Task):
    """Train a ControlNet beside a frozen pipeline.

    Args:
        config: of the run.
        device: where it is trained.
        validation: pairs to restore as a user would.

    Raises:
        ModelError: the prior cannot be loaded, or takes no ControlNet.
    """

    Config: ClassVar[type[RunConfig]] = ControlNetConfig
    section: ClassVar[str | None] = None
    result: ClassVar[str] = FOLDER

    def __init__(self, config: ControlNetConfig, device: torch.device, validation: Sequence[Pair] = ()) -> None:
        self.config, self.device, self.pairs = config, device, validation
        self.prior = _frozen_prior(config, device)
        torch.manual_seed(config.seed)
        control = new_controlnet(self.prior, config.start_from).to(device, torch.float32).train()
        control.requires_grad_(True)
        if config.gradient_checkpointing:
            control.enable_gradient_checkpointing()
        super().__init__(control)

    @classmethod
    def check(cls, config: Any) -> None:
        """Nothing that pydantic has not checked."""

    def loss(self, batch: Pair, first: int) -> Tensor:
        """Mean squared error of the prior's raw output."""
        clean, degraded = batch.clean, batch.degraded
        z0 = self.prior.space.encode(clean)
        index = torch.tensor([self._index(first + place) for place in range(len(clean))], device=self.device)
        noise = torch.stack([self._noise(first + place, z0[0]) for place in range(len(clean))]).to(z0)
        c = self.prior.process.coefficients((index.double() + 1) / self.prior.process.steps).like(z0)
        z = c.alpha * z0 + c.gamma * noise
        control = pad_to_multiple(degraded, self.prior.multiple).to(self.device)
        self.prior.controlnet = self.module
        with self._autocast():
            output = self.prior.output(z, index, control)
        return (output.float() - training_target(z0, noise, c, self.prior.prediction)).square().mean()

    def validate(self) -> Validation | None:
        """Restore the validation pairs as a user would."""
        scores: dict[str, list[float]] = {}
        self.prior.controlnet = self.module.eval()
        restore = Restorer.from_preset(self.prior, self.config.preset)
        for pair in self.pairs:
            with self._autocast():
                restored = restore.for_task(pair.task)(
                    pair.degraded[None], steps=self.config.steps, seed=self.config.seed
                )
            scores.setdefault(pair.task, []).append(psnr(restored, pair.clean[None]).item())
        self.module.train()
        if not scores:
            return None
        metrics = {f"psnr/{task}": sum(values) / len(values) for task, values in scores.items()}
        text = "  ".join(f"{name[5:]} {value:.2f} dB" for name, value in metrics.items())
        return Validation(metrics, text, score=sum(metrics.values()) / len(metrics))

    def state_dict(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The ControlNet's weights."""
        return {"controlnet": self.module.state_dict()}

    def load_state_dict(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take back the ControlNet's weights."""
        self.module.load_state_dict(tensors["controlnet"])

    def export(self, folder: Path, validation: Mapping[str, float]) -> Path:
        """Write the ControlNet as diffusers does, with a card.

        The folder appears whole or not at all.

        It is for `load_prior(..., controlnet=...)` and for any pipeline of diffusers.
        """
        final = folder / FOLDER
        partial, earlier = (final.with_name(f".{FOLDER}.{end}") for end in ("part", "old.part"))
        for path in (partial, earlier):
            shutil.rmtree(path, ignore_errors=True)
        try:
            control: Any = self.module
            control.save_pretrained(partial)
            (partial / "README.md").write_text(_card(self.config, validation), encoding="utf-8")
            if final.exists():
                final.rename(earlier)
            partial.rename(final)
        except OSError as error:
            raise TrainingError(f"cannot save the ControlNet in {final}: {reason(error)}") from None
        finally:
            for path in (partial, earlier):
                shutil.rmtree(path, ignore_errors=True)
        return final

    def describe(self) -> str:
        """ControlNet and prior."""
        return f"ControlNet ({count_parameters(self.module):,} parameters) on {self.config.prior}"

    def _autocast(self) -> torch.autocast:
        half = self.config.precision != "fp32"
        return torch.autocast(self.device.type, DTYPES[self.config.precision] if half else None, enabled=half)

    def _index(self, number: int) -> int:
        generator = generator_of(self.config.seed, "index", number)
        return int(torch.randint(self.prior.process.steps, (), generator=generator))

    def _noise(self, number: int, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator_of(self.config.seed, "noise", number))


def _frozen_prior(config: ControlNetConfig, device: torch.device) -> DiffusersModel:
    options: dict[str, Any] = {} if config.variant is None else {"variant": config.variant}
    prior = load_prior(config.prior, device=device, dtype=DTYPES[config.precision], prompt=config.prompt, **options)
    if not isinstance(prior, DiffusersModel) or prior.vae is None:
        raise ModelError(f"'{config.prior}' takes no ControlNet; use a Stable Diffusion pipeline")
    prior.vae.requires_grad_(False)
    return prior


def _card(config: ControlNetConfig, metrics: Mapping[str, float]) -> str:
    tasks = tasks_of(config.data)
    measured = "\n".join(
        f"- {name.removeprefix('psnr/')}: {value:.2f} dB in validation" for name, value in metrics.items()
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
