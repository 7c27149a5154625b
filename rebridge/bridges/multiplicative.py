"""FoD: a process whose noise multiplies the distance to the clean image.

From y to x0 (the authors' direction) the distance x - x0 shrinks by geometric Brownian motion, so that

    x_t = x0 + (y - x0) exp(-(Th + S/2) + sqrt(S) eps)

with Th and S the integrals of the rates theta and sigma^2 from t = 1 down to t. The factor is log-normal with mean exp(-Th), so
this is a bridge with alpha = 1 - exp(-Th), beta = exp(-Th), gamma = exp(-Th) sqrt(exp(S) - 1) and the residual as modulation;
its standardised noise is not Gaussian: RDBM's sister. At t = 1 it is y, towards t = 0 all but a share `eps` of the distance
goes. The factors at t = 0 itself are those of the clean image, as in every bridge; `forward` and `log_factor` leave the share, as
the authors do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.bridges.base import Bridge, Modulation
from rebridge.bridges.coefficients import Coefficients, per_image
from rebridge.bridges.schedules import Clock, cosine_rates, whole_linear_rates


def jsd_rates(steps: int) -> Tensor:
    """Compute rates (1/(T - i))^1.5, i = 0 ... T - 1; (T,)."""
    return torch.linspace(steps, 1.0, steps, dtype=torch.float64) ** -1.5


def equal_rates(steps: int) -> Tensor:
    """Compute rates of 1; (T,)."""
    return torch.ones(steps, dtype=torch.float64)


def no_rates(steps: int) -> Tensor:
    """Compute rates of 0; (T,)."""
    return torch.zeros(steps, dtype=torch.float64)


FOD_RATES: dict[str, Callable[[int], Tensor]] = {
    "cosine": cosine_rates,
    "linear": whole_linear_rates,
    "jsd": jsd_rates,
    "constant": equal_rates,
    "none": no_rates,
}


@dataclass(frozen=True, kw_only=True)
class FoD(Bridge):
    """Forward-only diffusion, with multiplicative noise (arXiv 2505.16733).

    As in Algolzw/FoD, image_restoration/diffusion/fod_diffusion.py; their index i is at t = 1 - i/T.

    Args:
        steps: T.
        schedule: of theta: "cosine", "linear", "jsd", "constant" or "none".
        noise_schedule: of sigma^2, likewise; "none" for the ODE.
        modulation: "residual"; "one" is a process with additive Gaussian noise of the same size, "zero" the ODE.
        noise_scale: sum of sigma^2 before the common scale of both rates.
        eps: share of the distance that the factor's median leaves at t = 0; sets the common scale.
    """

    name: ClassVar[str] = "fod"

    modulation: Modulation = "residual"
    steps: int = 100
    schedule: str = "cosine"
    noise_schedule: str = "linear"
    noise_scale: float = 1.0
    eps: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, value in (("schedule", self.schedule), ("noise_schedule", self.noise_schedule)):
            if value not in FOD_RATES:
                raise ValueError(f"{key} must be one of {', '.join(FOD_RATES)}, got {value!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not self.noise_scale > 0:
            raise ValueError(f"noise_scale must be positive, got {self.noise_scale}")
        if not 0 < self.eps < 1:
            raise ValueError(f"eps must lie strictly between 0 and 1, got {self.eps}")
        if self.schedule == self.noise_schedule == "none":
            raise ValueError("schedule and noise_schedule are both none, so the process never moves")

    @cached_property
    def _clocks(self) -> tuple[Clock, Clock]:
        """Th and S over the authors' time 1 - t."""
        theta, square = FOD_RATES[self.schedule](self.steps), FOD_RATES[self.noise_schedule](self.steps)
        if self.noise_schedule != "none":
            square = self.noise_scale * square / square.sum()
        scale = -math.log(self.eps) / (theta + square / 2).sum()
        return Clock.from_increments(scale * theta), Clock.from_increments(scale * square)

    @property
    def noiseless(self) -> bool:
        return self.modulation == "zero" or self.noise_schedule == "none"

    def log_factor(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Compute Th and S, the decay and the variance of the logarithm of the factor.

        Args:
            t: times in [0, 1], any shape.
        """
        t = torch.as_tensor(t, dtype=torch.float64)
        theta, square = (clock(1 - t) for clock in self._clocks)
        return theta, torch.zeros_like(square) if self.modulation == "zero" else square

    def marginal(self, t: Tensor) -> Coefficients:
        theta, square = self.log_factor(t)
        beta = torch.where(t > 0, torch.exp(-theta), 0.0)
        return Coefficients(1 - beta, beta, beta * torch.expm1(square).clamp(min=0.0).sqrt())

    def forward(self, x0: Tensor, y: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Draw x_t given both images, with log-normal noise unless modulation is "one"."""
        if self.modulation == "one":
            return super().forward(x0, y, t, noise)
        theta, square = (per_image(part.to(y), y.ndim) for part in self.log_factor(t))
        return x0 + (y - x0) * torch.exp(-(theta + square / 2) + square.sqrt() * noise)

    @property
    def recommended(self) -> dict[str, Any]:
        """Exact steps of the Markov chain on the whole grid."""
        return {"name": "multiplicative", "steps": self.steps}
