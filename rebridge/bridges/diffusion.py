"""Generative diffusions: bridges with beta = 0, which end in noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rebridge.bridges.base import Bridge
from rebridge.bridges.coefficients import Coefficients
from rebridge.bridges.linear import decay_clock
from rebridge.bridges.schedules import Clock


@dataclass(frozen=True, kw_only=True)
class Generative(Bridge):
    """A process that forgets the image: the state at t = 1 is noise alone."""

    generative: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.modulation == "zero":
            raise ValueError(
                f"{self.name!r} is a generative process: without noise (modulation zero) nothing is left of it"
            )

    def prior(self, y: Tensor, noise: Tensor) -> Tensor:
        """Scale noise to the state at t = 1, gamma(1) z; y gives the shape only."""
        return self.coefficients(1.0).gamma.item() * noise

    @property
    def starts_noisy(self) -> bool:
        return True

    @property
    def recommended(self) -> dict[str, Any]:
        """DDIM."""
        return {"name": "ddim", "steps": 25}


@dataclass(frozen=True, kw_only=True)
class VP(Generative):
    """Variance-preserving diffusion on a discrete beta schedule (arXiv 2006.11239).

    The time t = (i+1)/T holds index i.

    Args:
        steps: T, the number of betas.
        schedule: "linear" (DDPM: 1e-4 to 0.02) or "scaled-linear" (Stable Diffusion: sqrt(beta) linear, 0.00085 to 0.012).
        beta_start: first beta, by default that of the named schedule.
        beta_end: last beta, by default that of the named schedule.
    """

    name: ClassVar[str] = "vp"

    steps: int = 1000
    schedule: Literal["linear", "scaled-linear"] = "linear"
    beta_start: float | None = None
    beta_end: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule not in ("linear", "scaled-linear"):
            raise ValueError(f"schedule must be linear or scaled-linear, got {self.schedule!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    @cached_property
    def _decay(self) -> Clock:
        first, last = (1e-4, 0.02) if self.schedule == "linear" else (0.00085, 0.012)
        first = first if self.beta_start is None else self.beta_start
        last = last if self.beta_end is None else self.beta_end
        if self.schedule == "linear":
            return decay_clock(torch.linspace(first, last, self.steps, dtype=torch.float64))
        return decay_clock(torch.linspace(first**0.5, last**0.5, self.steps, dtype=torch.float64).square())

    def marginal(self, t: Tensor) -> Coefficients:
        decay = self._decay(t)
        alpha = torch.exp(-decay / 2)
        return Coefficients(alpha, torch.zeros_like(alpha), (-torch.expm1(-decay)).clamp(min=0.0).sqrt())

    def _time_of_level(self, level: Tensor) -> Tensor:
        """log(1 + n^2) = -2 log(alpha) is the clock, linear between grid times."""
        return self._decay.time_of(torch.log1p(level.square()))


@dataclass(frozen=True, kw_only=True)
class VE(Generative):
    """Variance-exploding diffusion with sigma = sigma_max t (arXiv 2206.00364).

    Args:
        sigma_max: standard deviation of the noise at t = 1, positive.
    """

    name: ClassVar[str] = "ve"

    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sigma_max > 0:
            raise ValueError(f"sigma_max must be positive, got {self.sigma_max}")

    def marginal(self, t: Tensor) -> Coefficients:
        return Coefficients(torch.ones_like(t), torch.zeros_like(t), self.sigma_max * t)

    def _time_of_level(self, level: Tensor) -> Tensor:
        return level / self.sigma_max


@dataclass(frozen=True, kw_only=True)
class RectifiedFlow(Generative):
    """Rectified flow from noise to images (arXiv 2209.03003).

    x_t = (1 - t) x0 + t eps.
    """

    name: ClassVar[str] = "rectified-flow"

    def marginal(self, t: Tensor) -> Coefficients:
        return Coefficients(1 - t, torch.zeros_like(t), t)

    def _time_of_level(self, level: Tensor) -> Tensor:
        return level / (1 + level)
