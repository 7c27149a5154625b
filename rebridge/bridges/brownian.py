"""Brownian bridges (BBDM, I2SB, DDBM-VE), and the bridge of DDBM-VP.

A Brownian bridge whose variance clock is r (0 at x0, 1 at y) and whose total variance is G reads

    alpha = 1 - r,   beta = r,   gamma^2 = G r (1 - r)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rebridge.bridges.base import Bridge
from rebridge.bridges.coefficients import Coefficients
from rebridge.bridges.schedules import Clock


@dataclass(frozen=True, kw_only=True)
class Brownian(Bridge):
    """BBDM: a Brownian bridge in the mixing weight m (arXiv 2205.07680).

    The preset "lbm" is that of latent bridge matching (arXiv 2503.07535), 0.001 sqrt(m (1 - m)) of noise.

    m runs from m_min to m_max over the grid, as in xuekt98/BBDM. The grid point i/T holds the authors' index i - 1, and m(0) = 0.

    Args:
        steps: T, grid steps of the schedule.
        m_min: mixing weight at the first grid point, in [0, 1].
        m_max: mixing weight at t = 1, in [m_min, 1].
        schedule: "linear", or the authors' "sin": m = 1.0075^(i - T), with m_max at t = 1; m_min has no meaning then.
        max_var: s in gamma^2 = 2 s (m - m^2), positive.
    """

    name: ClassVar[str] = "brownian"

    steps: int = 1000
    m_min: float = 0.001
    m_max: float = 0.999
    max_var: float = 1.0
    schedule: Literal["linear", "sin"] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(steps=self.steps, max_var=self.max_var)
        if not 0 <= self.m_min <= self.m_max <= 1:
            raise ValueError(
                f"m_min and m_max must satisfy 0 <= m_min <= m_max <= 1, got {self.m_min} and {self.m_max}"
            )

        if self.schedule not in ("linear", "sin"):
            raise ValueError(f"schedule must be linear or sin, got {self.schedule!r}")

    @cached_property
    def _mixing(self) -> Clock:
        if self.schedule == "sin":
            powers = 1.0075 ** (torch.linspace(0, self.steps, self.steps, dtype=torch.float64) - self.steps)
            return Clock(
                torch.cat([powers.new_zeros(1), powers[:-1].clamp(max=self.m_max), powers.new_tensor([self.m_max])])
            )
        grid = torch.linspace(self.m_min, self.m_max, self.steps, dtype=torch.float64)
        return Clock(torch.cat([grid.new_zeros(1), grid]))

    def marginal(self, t: Tensor) -> Coefficients:
        m = self._mixing(t)
        return Coefficients(1 - m, m, (2 * self.max_var * (m - m.square())).clamp(min=0.0).sqrt())

    @property
    def recommended(self) -> dict[str, Any]:
        """200 steps of the posterior, or four of `resample` for the preset "lbm"."""
        if self.max_var < 1e-4:
            return {"name": "resample", "steps": 4}
        return {"name": "dbim", "steps": min(200, self.steps), "eta": 1.0}

    def prior(self, y: Tensor, noise: Tensor) -> Tensor:
        """Return y itself, as the authors start, although their gamma(1) is 0.045."""
        return y

    @property
    def starts_noisy(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class I2SB(Bridge):
    """Image-to-image Schroedinger bridge, symmetric schedule (arXiv 2302.05872).

    With sf^2 and sb^2 the sums of the betas up to and from a time (both include the beta of that time):
    alpha = sb^2/(sf^2 + sb^2), beta = sf^2/(sf^2 + sb^2), gamma^2 = sf^2 sb^2/(sf^2 + sb^2). The grid point i/(T-1) holds
    the index i of NVlabs/I2SB, so t = 0 is not quite clean and t = 1 not quite y (their first beta is not 0).

    Args:
        steps: T, grid steps of the schedule, at least 2.
        beta_max: largest beta times 1000; 0.3 (1.0 in the authors' colourisation).
    """

    name: ClassVar[str] = "i2sb"

    steps: int = 1000
    beta_max: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2:
            raise ValueError(f"steps must be at least 2, got {self.steps}")
        _positive(beta_max=self.beta_max)

    @cached_property
    def _betas(self) -> Tensor:
        half = self.steps // 2
        rise = torch.linspace(1e-4**0.5, (self.beta_max / 1000) ** 0.5, self.steps, dtype=torch.float64).square()[:half]
        middle = rise.new_zeros(0) if self.steps % 2 == 0 else rise[-1:]
        return torch.cat([rise, middle, rise.flip(0)])

    @cached_property
    def _forward_variance(self) -> Clock:
        return Clock(self._betas.cumsum(0))

    @cached_property
    def _backward_variance(self) -> Clock:
        return Clock(self._betas.flip(0).cumsum(0).flip(0))

    def marginal(self, t: Tensor) -> Coefficients:
        forward, backward = self._forward_variance(t), self._backward_variance(t)
        total = forward + backward
        return Coefficients(backward / total, forward / total, (forward * backward / total).sqrt())

    def forward_std(self, t: Tensor | float) -> Tensor:
        """Compute sf, the square root of the sum of the betas up to t."""
        return self._forward_variance(torch.as_tensor(t, dtype=torch.float64)).sqrt()

    @property
    def recommended(self) -> dict[str, Any]:
        """The posterior; the authors take up to T - 1 steps."""
        return {"name": "dbim", "steps": min(100, self.steps - 1), "eta": 1.0}

    def reverse_kernel(self, t: float, s: float) -> tuple[float, float, float, float] | None:
        """Compute the authors' p_posterior: Bayes with the forward variances alone.

        Their marginals count the beta of a time twice, forward and backward, so those say something else by some 1e-4.
        """
        if self.noiseless:
            return None
        times = torch.tensor([t, s], dtype=torch.float64)
        at_t, at_s = self._forward_variance(times).tolist()
        return 1 - at_s / at_t, 0.0, at_s / at_t, (at_s * (at_t - at_s) / at_t) ** 0.5

    def prior(self, y: Tensor, noise: Tensor) -> Tensor:
        """Return y itself, as the authors start."""
        return y

    @property
    def starts_noisy(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class DDBMVE(Bridge):
    """The variance-exploding bridge of DDBM (arXiv 2309.16948): r = t^2.

    Args:
        sigma_max: T of the paper, in units of [-1, 1] images: 80 for edges2handbags, 20 for DIODE. Its square is the total
            variance.
    """

    name: ClassVar[str] = "ddbm-ve"

    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(sigma_max=self.sigma_max)

    @property
    def recommended(self) -> dict[str, Any]:
        """Heun's method with churn on the grid of EDM."""
        return {"name": "heun-churn", "steps": 40, "grid": "karras"}

    def marginal(self, t: Tensor) -> Coefficients:
        r = t.square()
        return Coefficients(1 - r, r, self.sigma_max * t * (1 - r).sqrt())


@dataclass(frozen=True, kw_only=True)
class DDBMVP(Bridge):
    """The variance-preserving bridge of DDBM (arXiv 2309.16948).

    With a = exp(-(b_min t + b_d t^2/2)/2) and SNR = a^2/(1 - a^2):
    alpha = a (1 - SNR_1/SNR_t), beta = (a/a_1) SNR_1/SNR_t, gamma^2 = (1 - a^2)(1 - SNR_1/SNR_t); with q = -log a that is
    alpha = sinh(q_1 - q)/sinh q_1, beta = sinh q/sinh q_1, gamma^2 = 2 sinh q sinh(q_1 - q)/sinh q_1. Here alpha + beta < 1.

    Args:
        beta_d: b_d, growth of the rate, positive.
        beta_min: b_min, the rate at t = 0, positive.
    """

    name: ClassVar[str] = "ddbm-vp"

    beta_d: float = 2.0
    beta_min: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(beta_d=self.beta_d, beta_min=self.beta_min)

    @property
    def recommended(self) -> dict[str, Any]:
        """Heun's method with churn on the grid of EDM."""
        return {"name": "heun-churn", "steps": 40, "grid": "karras"}

    def _rate(self, t: Tensor) -> Tensor:
        return self.beta_min * t / 2 + self.beta_d * t.square() / 4

    def marginal(self, t: Tensor) -> Coefficients:
        q, q1 = self._rate(t), self.beta_min / 2 + self.beta_d / 4
        alpha, beta = torch.sinh(q1 - q) / math.sinh(q1), torch.sinh(q) / math.sinh(q1)
        return Coefficients(alpha, beta, (2 * torch.sinh(q) * alpha).clamp(min=0.0).sqrt())


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
