"""Processes that shift x0 towards y along a line.

They are no bridges in the strict sense: most end in y plus noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.bridges.base import Bridge
from rebridge.bridges.coefficients import Coefficients
from rebridge.bridges.schedules import Clock


@dataclass(frozen=True, kw_only=True)
class RDDM(Bridge):
    """Residual denoising diffusion: two independent schedules (arXiv 2308.13712).

    Residual and noise have a schedule each: alpha = (1 - n/T)(1 - n/(T+1)) and gamma^2 = sum_scale n(n+1)/(T(T+1)) at n = t T.

    Args:
        steps: T.
        sum_scale: terminal variance; 0.01 for restoration, 1 for generation.
    """

    name: ClassVar[str] = "rddm"

    steps: int = 1000
    sum_scale: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not self.sum_scale > 0:
            raise ValueError(f"steps and sum_scale must be positive, got {self.steps} and {self.sum_scale}")

    def reverse_kernel(self, t: float, s: float) -> tuple[float, float, float, float] | None:
        """Compute the authors' posterior, of noise that is added whatever alpha does."""
        return residual_kernel(self, t, s)

    @property
    def recommended(self) -> dict[str, Any]:
        """Ten deterministic steps at whole indices; five in the raindrop experiment."""
        return {"name": "increments", "steps": 10, "grid": "index"}

    def marginal(self, t: Tensor) -> Coefficients:
        n, T = t * self.steps, self.steps
        alpha = (1 - t) * (1 - n / (T + 1))
        return Coefficients(alpha, 1 - alpha, (self.sum_scale * t * (n + 1) / (T + 1)).sqrt())


@dataclass(frozen=True, kw_only=True)
class ResShift(Bridge):
    """Residual shifting with a geometric schedule (arXiv 2307.12348).

    As in the authors' gaussian_diffusion.py: alpha = 1 - eta, beta = eta, gamma = kappa sqrt(eta), and
    sqrt(eta_i) = s (0.99/s)^((i/(n-1))^p) at t = (i+1)/n, eta(0) = 0, with s = min(min_noise/kappa, min_noise).
    The published runs are in the latent space of a VQ-GAN.

    Args:
        steps: n, at least 2.
        kappa: noise in units of sqrt(eta), positive.
        power: p, positive.
        min_noise: noise of the first step, positive.
    """

    name: ClassVar[str] = "resshift"

    steps: int = 15
    kappa: float = 2.0
    power: float = 0.3
    min_noise: float = 0.04

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2:
            raise ValueError(f"steps must be at least 2, got {self.steps}")
        if not min(self.kappa, self.power, self.min_noise) > 0:
            raise ValueError(
                f"kappa, power and min_noise must be positive, got {self.kappa}, {self.power}, {self.min_noise}"
            )

    @cached_property
    def _shift(self) -> Clock:
        first = min(self.min_noise / self.kappa, self.min_noise)
        position = torch.linspace(0.0, 1.0, self.steps, dtype=torch.float64) ** self.power
        eta = (first * (0.99 / first) ** position).square()
        return Clock(torch.cat([eta.new_zeros(1), eta]))

    def reverse_kernel(self, t: float, s: float) -> tuple[float, float, float, float] | None:
        """Compute the authors' posterior, of noise that is added whatever alpha does."""
        return residual_kernel(self, t, s)

    @property
    def recommended(self) -> dict[str, Any]:
        """The posterior at every point of the grid."""
        return {"name": "residual-posterior", "steps": self.steps}

    def marginal(self, t: Tensor) -> Coefficients:
        eta = self._shift(t)
        return Coefficients(1 - eta, eta, self.kappa * eta.sqrt())


@dataclass(frozen=True, kw_only=True)
class DiffUIR(Bridge):
    """Selective hourglass mapping: y fades out towards t = 1 (arXiv 2403.11157).

    So all tasks share one end.

    abar = 1 - sqrt(acp), gamma = sqrt(1 - acp) with acp = prod(1 - b), b linear from 1e-4 to 2e-2, and
    dbar = sum of a linear sequence from 1e-6 to delta_end; alpha = 1 - abar, beta = abar - dbar.
    The released code trains this but samples from terminal noise 0.1 and leaves that noise in the state; the sampler `increments`
    does both, see `recommended`.

    Args:
        steps: T, at least 2.
        delta_end: last increment of dbar for T = 1000, at least 0.
    """

    name: ClassVar[str] = "diffuir"

    steps: int = 1000
    delta_end: float = 1.8e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2 or self.delta_end < 0:
            raise ValueError(
                f"steps must be at least 2 and delta_end not negative, got {self.steps} and {self.delta_end}"
            )

    @cached_property
    def _decay(self) -> Clock:
        return decay_clock(torch.linspace(1e-4, 2e-2, self.steps, dtype=torch.float64) * (1000 / self.steps))

    @cached_property
    def _fading(self) -> Clock:
        increments = torch.linspace(1e-6, self.delta_end, self.steps, dtype=torch.float64) * (1000 / self.steps)
        return Clock.from_increments(increments)

    def reverse_kernel(self, t: float, s: float) -> tuple[float, float, float, float] | None:
        """Compute the authors' posterior, of noise that is added whatever alpha does."""
        return residual_kernel(self, t, s)

    @property
    def recommended(self) -> dict[str, Any]:
        """The released sampler: three steps from little noise, which stays in the state."""
        return {"name": "increments", "steps": 3, "grid": "index", "hold": True, "start_noise": 0.1}

    def marginal(self, t: Tensor) -> Coefficients:
        decay = self._decay(t)
        alpha = torch.exp(-decay / 2)
        return Coefficients(alpha, 1 - alpha - self._fading(t), (-torch.expm1(-decay)).clamp(min=0.0).sqrt())


@dataclass(frozen=True, kw_only=True)
class InDI(Bridge):
    """Inversion by direct iteration: a line with a little noise (arXiv 2303.11435).

    Args:
        sigma: standard deviation of the noise at t = 1, at least 0.
    """

    name: ClassVar[str] = "indi"

    sigma: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma < 0:
            raise ValueError(f"sigma must not be negative, got {self.sigma}")

    @property
    def noiseless(self) -> bool:
        return self.modulation == "zero" or self.sigma == 0

    def marginal(self, t: Tensor) -> Coefficients:
        return Coefficients(1 - t, t, self.sigma * t)


@dataclass(frozen=True, kw_only=True)
class Flow(Bridge):
    """Flow matching from y to x0 along straight lines (arXiv 2210.02747).

    It has no noise.
    """

    name: ClassVar[str] = "flow"

    @property
    def noiseless(self) -> bool:
        return True

    def marginal(self, t: Tensor) -> Coefficients:
        return Coefficients(1 - t, t, torch.zeros_like(t))


def residual_kernel(bridge: Bridge, t: float, s: float) -> tuple[float, float, float, float] | None:
    """Compute the posterior of a process whose noise grows in independent parts.

    x0 and y are fixed meanwhile. With k = gamma_s^2 / gamma_t^2 the mean is
    alpha_s x0 + beta_s y + k (x_t - alpha_t x0 - beta_t y), the variance
    gamma_s^2 (1 - k); RDDM's, ResShift's and DiffUIR's code. The Markov process given y has k alpha_t / alpha_s in its place.

    Args:
        bridge: the process.
        t: where the step begins.
        s: where it ends, earlier.

    Returns:
        Factors of x0, y and x_t in the mean, and the standard deviation; None without noise at t.
    """
    c = bridge.coefficients(torch.tensor([t, s], dtype=torch.float64))
    (alpha_t, alpha_s), (beta_t, beta_s), (gamma_t, gamma_s) = (f.tolist() for f in (c.alpha, c.beta, c.gamma))
    if gamma_t == 0:
        return None
    k = (gamma_s / gamma_t) ** 2
    return alpha_s - k * alpha_t, beta_s - k * beta_t, k, gamma_s * max(0.0, 1 - k) ** 0.5


def decay_clock(betas: Tensor) -> Clock:
    """Build the clock -log prod(1 - beta), so that alpha^2 = exp(-clock).

    Args:
        betas: (T,) float64; the clock is linear between grid points.
    """
    return Clock.from_increments(-torch.log1p(-betas.clamp(max=0.999)))
