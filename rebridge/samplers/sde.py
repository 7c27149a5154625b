"""Samplers of the reverse-time SDE: Euler-Maruyama, mean-ODE, Heun with churn.

GOUB's mean-ODE is the same without noise; Heun with churn is DDBM's. With drift f and squared diffusion g^2 per unit of the
clock, and modulation^2 * score = -n / gamma:

    x_s = x + [v + eta g^2 n / (2 gamma)] (s - t) - sqrt(eta) g sqrt(t - s) modulation_hat z

where v = f + g^2 n / (2 gamma) is the velocity of the probability flow. All eta have the same marginals (arXiv 2410.21553): 1 is
the reverse SDE, 0 the ODE.

Where alpha = 0 with noise left (indi, rddm, rectified flow at t = 1) the drift is singular, but the state holds nothing of x0:
the posterior at s is the forward law around x0_hat, and that is the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.denoisers import Estimate
from rebridge.samplers.base import Point, Sampler, Walk
from rebridge.samplers.ode import heun_step
from rebridge.samplers.steps import at_pinned_end, is_singular, leave_end, marginal_step


@dataclass(frozen=True, kw_only=True)
class SDE(Sampler):
    """Euler-Maruyama in the bridge's clock, as in IR-SDE's, GOUB's and UniDB's code.

    At a pinned end the drift is singular; as in that code (reverse_sde) the step there is the noise alone, without a network
    evaluation, unless eta is below 1: then it is a draw around the estimate. Its order 1 is weak: that of the mean over many
    paths.

    Args:
        eta: strength of the noise, in [0, 1] or more: 1 the reverse SDE, 0 the probability flow.
        steps: number of steps of the default grid, at least 1.
        grid: "uniform", "quadratic", "cosine", "karras" or "log-snr".
    """

    name: ClassVar[str] = "sde"
    needs_slopes: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True

    eta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eta >= 0:
            raise ValueError(f"eta must not be negative, got {self.eta}")

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        if self.eta < 1 and at_pinned_end(walk.bridge, t):
            return leave_end(walk, x, t, s, None)
        if is_singular(walk.bridge, t):
            estimate = walk.estimate(x, t) if walk.bridge.modulation == "residual" else Estimate(walk.y)
            x0, x_s, diffusion = estimate.x0, x, s.diffusion
            if not walk.history:
                walk.history = [(t, walk.y)]
        else:
            estimate = walk.estimate(x, t)
            if t.alpha == 0:
                return marginal_step(walk, x, Estimate(estimate.x0), t, s, kept=0.0, added=s.gamma)
            x0, diffusion = estimate.x0, self.eta * t.diffusion
            x_s = reverse_drift(walk, x, estimate, t, (1 + self.eta) / 2).mul_(s.clock - t.clock).add_(x)
            if diffusion == 0:
                return x_s
        z = walk.bridge.modulate(x0, walk.y, walk.noise())
        return x_s - (diffusion * (t.clock - s.clock)) ** 0.5 * z


@dataclass(frozen=True, kw_only=True)
class MeanODE(Sampler):
    """The reverse SDE without its noise: GOUB's "mean-ODE" (arXiv 2312.10299).

    Euler steps follow the mean of the posterior, not the probability flow: the sampler preserves no marginal and favours PSNR.
    At a pinned end the state stays y.
    """

    name: ClassVar[str] = "mean-ode"
    needs_slopes: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        if is_singular(walk.bridge, t):
            walk.history = [(t, walk.y)]
            return x
        estimate = walk.estimate(x, t)
        if t.alpha == 0:
            return marginal_step(walk, x, Estimate(estimate.x0), t, s, kept=0.0)
        return x + (s.clock - t.clock) * reverse_drift(walk, x, estimate, t)


@dataclass(frozen=True, kw_only=True)
class HeunChurn(Sampler):
    """DDBM's hybrid of SDE and ODE steps (arXiv 2309.16948).

    An SDE step over a share of the interval, then Heun's method on the ODE: 3 network evaluations a step, 2 without churn, and
    one fewer in the last step. The order is 2 without churn, else that of the SDE step, 1. A pinned bridge starts from y just
    below t = 1.

    Args:
        churn: share of each interval given to the SDE step, in [0, 1); 0.33 in the paper.
        steps: number of steps of the default grid, at least 1.
        grid: "uniform", "quadratic", "cosine", "karras" or "log-snr".
    """

    name: ClassVar[str] = "heun-churn"
    remembered: ClassVar[int] = 1
    needs_slopes: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True

    churn: float = 0.33

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.churn < 1:
            raise ValueError(f"churn must lie in [0, 1), got {self.churn}")

    @property
    def order(self) -> int:
        """2 without churn, else that of the SDE step, 1."""
        return 1 if self.churn > 0 else 2

    @property
    def calls_per_step(self) -> int:
        """3, or 2 without churn."""
        return 3 if self.churn > 0 else 2

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        x, times = super().begin(walk, x, times)
        if times[0] == 1 and walk.bridge.singular_end:
            times = torch.cat([times[:1] - 1e-4, times[1:]])
        return x, times

    def inner_times(self, bridge: Bridge, times: Tensor) -> Tensor:
        return times[:-1] + self.churn * times.diff() if self.churn > 0 else times[:0]

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        if self.churn > 0:
            x, t = _churned(walk, x, t, walk.inner[t]), walk.inner[t]
        return heun_step(walk, x, t, s)


def _churned(walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
    """Take the SDE step of `HeunChurn`."""
    estimate = walk.estimate(x, t)
    if t.alpha == 0:
        return marginal_step(walk, x, Estimate(estimate.x0), t, s, kept=0.0, added=s.gamma)
    z = walk.bridge.modulate(estimate.x0, walk.y, walk.noise())
    x = x + (s.clock - t.clock) * reverse_drift(walk, x, estimate, t)
    return x + (t.diffusion * (t.clock - s.clock)) ** 0.5 * z


def reverse_drift(walk: Walk, x: Tensor, estimate: Estimate, t: Point, share: float = 1.0) -> Tensor:
    """Compute f + share g^2 n / gamma at a regular point, per unit of the clock."""
    rate = t.alpha_slope / t.alpha
    x0, y = estimate.x0, walk.y
    pull = share * t.diffusion / t.gamma
    if estimate.noise is not None:
        return rate * x + (t.beta_slope - rate * t.beta) * y + pull * estimate.noise
    pull /= t.gamma
    v = (-pull * t.alpha) * x0
    return v.add_(y, alpha=t.beta_slope - (rate + pull) * t.beta).add_(x, alpha=rate + pull)
