"""HI-Diff's two stages, at t = 1.

A transformer G conditioned on a latent prior z.

    stage 1    |G(y, z) - x0|,                      z = E(x0, y)
    stage 2    |G(y, z_hat) - x0| + w |z_hat - z|,  z_hat from y by diffusion

Chen et al., arXiv 2305.12966. Stage 2 begins with stage 1's weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rebridge.bridges import Bridge
from rebridge.data.seeds import generator_of
from rebridge.denoisers import Denoiser, NetworkDenoiser
from rebridge.networks.conditions import NONE, Values
from rebridge.networks.hidiff import PriorNetwork
from rebridge.training.config import RunConfig, Section
from rebridge.training.config_files import ConfigError
from rebridge.training.losses import distance
from rebridge.training.methods.bridge import BridgeObjective, DenoiserTraining, TrainConfig
from rebridge.training.parts import create


class LatentConfig(Section):
    """The stage of a training of HI-Diff.

    Attributes:
        stage: 1 trains the transformer with the latent prior z of (clean, degraded), 2 its prediction from y.
        weight: of the L1 distance between the two z in stage 2, beside the L1 distance of the images.
    """

    stage: Literal[1, 2]
    weight: Annotated[float, Field(ge=0)] = 1.0


class HiDiffTrainConfig(TrainConfig):
    """The settings of a stage in the training of a network with a latent prior."""

    PROBLEM: ClassVar[tuple[str, ...]] = (*TrainConfig.PROBLEM, "latent.stage")

    latent: LatentConfig

    @model_validator(mode="after")
    def _fits(self) -> HiDiffTrainConfig:
        if self.prediction != "residual":
            raise ValueError(f"latent needs prediction residual, got {self.prediction}")
        if self.states.condition_dropout:
            raise ValueError("states.condition_dropout cannot be combined with predictor or latent")
        return self


@dataclass(frozen=True)
class TeacherDenoiser:
    """A denoiser of stage 1, whose latent prior comes from the clean image.

    It is an upper bound, not a restorer.
    """

    denoiser: NetworkDenoiser
    clean: Tensor

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The clean estimate (B, C, H, W)."""
        low, high = self.denoiser.bridge.value_range
        output: Tensor = self.denoiser.network(x_t, t, y, clean=self.clean)
        return (y + output).clamp(low, high)


class LatentObjective:
    """The loss of a stage.

    z comes from (clean, degraded) in stage 1 and from y alone in stage 2.

    Args:
        config: of the run.
        bridge: the process, of which only t = 1 is used.
        module: the network in training.
        average: the network of averaged weights.
        in_precision: makes a method of the network compute in the run's precision.
    """

    def __init__(
        self,
        config: HiDiffTrainConfig,
        bridge: Bridge,
        module: PriorNetwork,
        average: nn.Module,
        in_precision: Callable[[Callable[..., Any]], nn.Module],
    ) -> None:
        self.config = config
        self.module = module
        self.restore = in_precision(module)
        self.restore_with_prior = in_precision(module.restore_with_prior)
        self.inner = BridgeObjective(config, bridge, self.restore, average)
        self._last: tuple[Tensor, Tensor] | None = None

    def loss(self, x0: Tensor, y: Tensor, first: int, told: Values = NONE) -> Tensor:
        """The distance of the images, and in stage 2 that of the latents.

        These networks declare no extra conditions.
        """
        kind = self.config.loss.kind
        if self.config.latent.stage == 1:
            return distance(y + self.restore(y, y.new_ones(len(y)), y, clean=x0), x0, kind)
        draws = [generator_of(self.config.seed, "latent", first + place) for place in range(len(y))]
        noise = torch.stack([torch.randn(self.module.latent_shape, generator=draw) for draw in draws]).to(y)
        with torch.no_grad():
            z = self.module.prior(y, clean=x0).float()
        output, z_hat = self.restore_with_prior(y, noise=self.module.training_start(z, noise))
        self._last = (z_hat.detach(), z)
        return distance(y + output, x0, kind) + self.config.latent.weight * distance(z_hat, z, "l1")

    def condition(self, x0: Tensor, y: Tensor) -> tuple[Denoiser, Tensor]:
        """The averaged denoiser, with the teacher's prior in stage 1, and y itself."""
        restorer = self.inner.restorer
        return (TeacherDenoiser(restorer, x0) if self.config.latent.stage == 1 else restorer), y

    def metrics(self) -> dict[str, float]:
        """Distance and correlation of predicted and teacher's latents."""
        if self._last is None:
            return {}
        z_hat, z = self._last
        return {"z l1": float(distance(z_hat, z, "l1")), "z correlation": correlation(z_hat, z)}

    def averages(self) -> tuple[nn.Module, nn.Module | None]:
        """The averaged network."""
        return self.inner.averages()


class HiDiffTraining(DenoiserTraining):
    """Train a stage of a restorer with a latent prior."""

    Config: ClassVar[type[RunConfig]] = HiDiffTrainConfig
    section: ClassVar[str | None] = "latent"
    config: HiDiffTrainConfig
    module: PriorNetwork

    def build(self) -> nn.Module:
        """The network, frozen where the stage leaves it alone."""
        network = super().build()
        if not isinstance(network, PriorNetwork):
            raise ConfigError(f"latent: the network {self.config.network.name} has no latent prior; use hi-diff")
        create("latent", network.begin_stage, self.config.latent.stage)
        return network

    def objective_of(self) -> LatentObjective:
        """Make the objective."""
        return LatentObjective(self.config, self.bridge, self.module, self.ema.module, self.in_precision)


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation of two batches of latents (B, ...).

    Each element is centred over the batch first.

    Centring takes away what is the same for all images, which would be predicted without looking at them; 0 for B = 1.
    """
    a, b = (value.double() - value.double().mean(0, keepdim=True) for value in (a, b))
    scale = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / scale) if scale > 0 else 0.0
