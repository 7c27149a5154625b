"""Samplers of the probability-flow ODE: Euler, Heun, and ODES3's start.

dx/d(clock) = alpha' x0_hat + beta' y + gamma' n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.denoisers import Estimate
from rebridge.samplers.base import Point, Sampler, Walk
from rebridge.samplers.dbim import begin_pinned
from rebridge.samplers.steps import Start, at_pinned_end, check_start, leave_end


@dataclass(frozen=True, kw_only=True)
class ODE(Sampler):
    """Euler's or Heun's method on the probability-flow ODE, in the bridge's clock.

    Args:
        method: "euler" (order 1) or "heun" (order 2; its last step, to t = 0, is an Euler step).
        start: how to leave an end that is y, where the velocity is singular or nearly so: "mean" or "noise"; by default the
            bridge's way.
        steps: number of steps of the default grid, at least 1.
        grid: "uniform", "quadratic", "cosine", "karras" or "log-snr".
    """

    name: ClassVar[str] = "ode"
    remembered: ClassVar[int] = 1
    needs_slopes: ClassVar[bool] = True

    method: Literal["euler", "heun"] = "euler"
    start: Start | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_start(self.start)
        if self.method not in ("euler", "heun"):
            raise ValueError(f"method must be euler or heun, got {self.method!r}")

    @property
    def order(self) -> int:
        """1 for Euler's method, 2 for Heun's."""
        return 2 if self.method == "heun" else 1

    @property
    def calls_per_step(self) -> int:
        """1 for Euler's method, 2 for Heun's."""
        return 2 if self.method == "heun" else 1

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        return begin_pinned(self, walk, x, times)

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        if at_pinned_end(walk.bridge, t):
            return leave_end(walk, x, t, s, self.start)
        return heun_step(walk, x, t, s) if self.method == "heun" else euler_step(walk, x, t, s)


@dataclass(frozen=True, kw_only=True)
class ODES3(Sampler):
    """The ODE sampler with stochastic start (arXiv 2412.19992).

    The ODE of a bridge is singular where it ends in y, so the first step draws the state at the next time from the posterior,
    x = alpha x0_hat + beta y + gamma modulation_hat z; then Heun's method, and Euler's on the last step.
    N steps cost 2 N - 2 network calls (N of 2 or more).

    Args:
        tau: the time at which the state is drawn from the posterior, in (0, 1); the rest of the default grid is scaled to it. By
            default the grid's second time.
    """

    name: ClassVar[str] = "odes3"
    remembered: ClassVar[int] = 1
    needs_slopes: ClassVar[bool] = True
    needs_noise: ClassVar[bool] = True

    tau: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau is not None and not (0 < self.tau < 1 and self.steps > 1):
            raise ValueError(f"tau must lie between 0 and 1, with two steps or more, got {self.tau}")

    def times(self, bridge: Bridge) -> Tensor:
        """Compute the default time grid, with tau as its second time."""
        grid = super().times(bridge)
        return grid if self.tau is None else torch.cat([grid[:1], grid[1:] * (self.tau / grid[1])])

    @property
    def order(self) -> int:
        """Heun's, 2."""
        return 2

    @property
    def calls_per_step(self) -> int:
        """Heun's, 2."""
        return 2

    def check(self, bridge: Bridge) -> None:
        super().check(bridge)
        if not bridge.pinned:
            raise ValueError(
                f"odes3 needs a bridge that starts in y, whose noise vanishes at t = 1, and {bridge.name!r} keeps noise there; "
                "use ode with method heun"
            )

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        return begin_pinned(self, walk, x, times)

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        return leave_end(walk, x, t, s, "noise") if at_pinned_end(walk.bridge, t) else heun_step(walk, x, t, s)


def velocity(walk: Walk, x: Tensor, estimate: Estimate, t: Point) -> Tensor:
    """Compute the probability-flow velocity at a regular point.

    In the clock; see `Bridge.velocity`.
    """
    x0 = estimate.x0
    if walk.bridge.noiseless:
        slope = t.beta_slope / t.beta
        return (t.alpha_slope - slope * t.alpha) * x0 + slope * x
    slope = t.gamma_slope / t.gamma
    if estimate.noise is not None:
        return t.alpha_slope * x0 + t.beta_slope * walk.y + t.gamma_slope * estimate.noise
    v = (t.alpha_slope - slope * t.alpha) * x0
    return v.add_(walk.y, alpha=t.beta_slope - slope * t.beta).add_(x, alpha=slope)


def euler_step(walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
    """Step by x + v (s - t), in the clock."""
    return x + (s.clock - t.clock) * velocity(walk, x, walk.estimate(x, t), t)


def heun_step(walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
    """Step by the trapezoidal rule with an Euler predictor.

    Where the velocity at s is singular, at s = 0, by Euler's rule.
    """
    v = velocity(walk, x, walk.estimate(x, t), t)
    x_s = x + (s.clock - t.clock) * v
    if s.t == 0:
        return x_s
    v_s = velocity(walk, x_s, walk.estimate(x_s, s, remember=False), s)
    return x + (0.5 * (s.clock - t.clock)) * (v + v_s)
