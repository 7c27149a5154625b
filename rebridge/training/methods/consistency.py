"""Consistency training of a bridge: all states of a path lead to one estimate.

    loss(D(x_t, t, y), stop_gradient(D(x_r, r, y))),    r < t,    D(x, 0, y) = x0

x_t and x_r are two states on one path (consistency bridge models, arXiv 2410.22637). Without a teacher they share their noise,
x_r = alpha_r x0 + beta_r y + gamma_r modulation eps; with one, x_r is where its deterministic step from x_t leads. At the end
that is y the path is not known, and the target is x0. The distance t - r shrinks as training goes on. Sample with `resample`, or
`dbim` in few steps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rebridge.bridges import Bridge
from rebridge.denoisers import as_estimate
from rebridge.models import TrainedModel, load_model
from rebridge.networks.conditions import NONE, Values, at_rows, listed
from rebridge.training.config import Named, RunConfig, Section
from rebridge.training.config_files import ConfigError
from rebridge.training.data import BatchIndices
from rebridge.training.losses import distance
from rebridge.training.methods.bridge import BridgeObjective, DenoiserTraining, TrainConfig
from rebridge.training.timesteps import draw_states


class PathsConfig(Section):
    """The pairs of times of consistency training.

    Attributes:
        first: steps that the time between 1 and 0 is cut into at the beginning, so that t - r is 1/first.
        last: at the end of training; the number doubles in between.
        teacher: a trained model of the same bridge, whose steps lead from x_t to x_r (distillation).
    """

    first: Annotated[int, Field(ge=2)] = 10
    last: Annotated[int, Field(ge=2)] = 80
    teacher: str | Path | None = None

    @model_validator(mode="after")
    def _finer(self) -> PathsConfig:
        if self.last < self.first:
            raise ValueError(f"last must be at least first, got {self.last} and {self.first}")
        return self


class ConsistencyConfig(TrainConfig):
    """The settings of consistency training: a bridge's, and the pairs of times.

    Restoring takes two steps of `resample`, as consistency models do, where no sampler is named.
    """

    sampler: Named | None = Named(name="resample", steps=2)  # type: ignore[call-arg]
    consistency: PathsConfig = PathsConfig()


class ConsistencyObjective(BridgeObjective):
    """D(x_t, t) against D(x_r, r), one step earlier on the same path.

    Args:
        config: of the run.
        bridge: the process.
        network: the network in training, in its precision.
        average: the module of averaged weights.
        teacher: denoiser of the same bridge, or None.
    """

    def __init__(
        self,
        config: ConsistencyConfig,
        bridge: Bridge,
        network: nn.Module,
        average: nn.Module,
        teacher: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(config, bridge, network, average)
        self.paths = config.consistency
        self.teacher = teacher
        self._cuts = self.paths.first

    def loss(self, x0: Tensor, y: Tensor, first: int, told: Values = NONE) -> Tensor:
        """The distance of the two estimates of a batch."""
        states = draw_states(self.bridge, self.denoiser, x0, y, first, self.config.seed, self.plan, told)
        told = at_rows(told, states.rows)
        x0, y, x_t, t = x0[states.rows], y[states.rows], states.x_t, states.t
        self._cuts = self.cuts(first)
        r = (t - 1 / self._cuts).clamp(min=0)
        estimate = self.denoiser(x_t, t, y, **told)
        return distance(estimate, self.target(x0, y, x_t, t, r, told), self.config.loss.kind)

    @torch.no_grad()
    def target(self, x0: Tensor, y: Tensor, x_t: Tensor, t: Tensor, r: Tensor, told: Values = NONE) -> Tensor:
        """The estimate at r, without gradients; x0 at r = 0 and from an end that is y.

        Args:
            x0: clean images (B, C, H, W).
            y: degraded images.
            x_t: states at t.
            t: times (B,), float64.
            r: earlier times (B,).
            told: extra conditions by name.
        """
        known = x0 if self.teacher is None else as_estimate(self.teacher(x_t, t, y, **told)).x0
        c = self.bridge.coefficients(r).like(y)
        noise = self.bridge.noise_estimate(x_t, known, y, t)
        x_r = c.alpha * known + c.beta * y + c.gamma * noise
        exact = (r <= 0) | ((t == 1) & self.bridge.pinned)
        return torch.where(exact.view(-1, 1, 1, 1), x0, self.denoiser(x_r, r, y, **told))

    def cuts(self, first: int) -> int:
        """Choose the number of steps for the samples number `first` on."""
        whole = BatchIndices.of(self.config, 1).first(self.config.optimisation.iterations, 0)
        doublings = int(torch.tensor(self.paths.last / self.paths.first).log2().floor()) + 1
        return min(self.paths.last, self.paths.first * 2 ** int(min(1.0, first / whole) * doublings))

    def metrics(self) -> dict[str, float]:
        """The number of steps that the time is cut into."""
        return {"cuts": float(self._cuts)}


class ConsistencyTraining(DenoiserTraining):
    """Train a bridge to say the same along each path, alone or by a teacher."""

    Config: ClassVar[type[RunConfig]] = ConsistencyConfig
    section: ClassVar[str | None] = "consistency"
    config: ConsistencyConfig

    @classmethod
    def check(cls, config: ConsistencyConfig) -> None:
        """Raise ConfigError for settings that do not fit one another."""
        super().check(config)
        if config.objective == "regression":
            raise ConfigError("objective: regression trains at t = 1 alone, where there is no path to be consistent on")

    def objective_of(self) -> ConsistencyObjective:
        """Make the objective, with the teacher where there is one."""
        teacher, source = None, self.config.consistency.teacher
        if source is not None:
            model = load_model(source, self.device)
            if not isinstance(model, TrainedModel) or model.process != self.bridge:
                raise ConfigError(
                    f"consistency.teacher: it must be trained on the bridge here, {self.bridge}, got {model.process}"
                )
            if dict(model.info.conditions) != self.config.declared:
                raise ConfigError(
                    f"consistency.teacher: its conditions are {listed(model.info.conditions)}, "
                    f"the network's {listed(self.config.declared)}"
                )
            teacher = model.denoiser
        network = self.in_precision(self.module)
        return ConsistencyObjective(self.config, self.bridge, network, self.ema.module, teacher)
