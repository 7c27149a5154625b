"""Exponential integrators of the reverse SDE (UniDB++, arXiv 2505.21528).

The linear part is solved exactly.

With the clean estimate frozen over a step the solution is the Markov posterior,

    x_s = alpha_s x0_hat + beta_s y + c (x_t - alpha_t x0_hat - beta_t y) + eta * rho z,
    c = gamma_s^2 alpha_t / (gamma_t^2 alpha_s),     rho^2 = gamma_s^2 (1 - gamma_s^2 alpha_t^2 / (gamma_t^2 alpha_s^2)).

Order 2 lets x0_hat change linearly in k = alpha^2/gamma^2, the variable in which the exact solution averages it:
x_s/alpha_s-like states are weighted means of x0_hat over k (derived). Along most bridges k grows geometrically in time, so that
a line in log k (`extrapolate="log"`, UniDB++'s variable) stays near the network where one in k runs away from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from rebridge.denoisers import Estimate
from rebridge.samplers.base import (
    Point,
    Sampler,
    Start,
    Walk,
    check_start,
    is_singular,
    leave_end,
    marginal_step,
    markov_std,
)
from rebridge.samplers.dbim import begin_pinned


@dataclass(frozen=True, kw_only=True)
class Exponential(Sampler):
    """The data-prediction solver of UniDB++ (arXiv 2505.21528).

    Args:
        order: 1 or 2 (one network evaluation a step in both).
        eta: scale of the noise, in [0, 1]; 1 is the SDE, 0 its mean-ODE.
        extrapolate: variable in which order 2 extends x0_hat along a line, "k" or "log" for log k; "log" is the stable one.
        start: how to leave a pinned end; by default "noise" for eta > 0 and "mean" for eta = 0.
        steps: number of steps of the default grid, at least 1.
        grid: "uniform", "quadratic", "cosine", "karras" or "log-snr".
    """

    name: ClassVar[str] = "exponential"
    needs_noise: ClassVar[bool] = True

    order: int = 1
    eta: float = 0.0
    start: Start | None = None
    extrapolate: Literal["k", "log"] = "k"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_start(self.start)
        if self.order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {self.order}")
        if self.extrapolate not in ("k", "log"):
            raise ValueError(f"extrapolate must be k or log, got {self.extrapolate!r}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        return begin_pinned(self, walk, x, times)

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        if is_singular(walk.bridge, t):
            return leave_end(walk, x, t, s, self.start or ("noise" if self.eta > 0 else "mean"))
        estimate = walk.estimate(x, t)
        kept = _posterior_share(t, s)
        if self.order == 2 and not s.last and estimate.noise is None and len(walk.history) > 1:
            before, x0_before = walk.history[-2]
            if before.gamma > 0:
                averaged = _averaged_in_log if self.extrapolate == "log" else _averaged
                estimate = Estimate(averaged(estimate.x0, x0_before, before, t, s))
        added = 0.0 if s.last else self.eta * markov_std(t, s)
        return marginal_step(walk, x, estimate, t, s, kept=kept, added=added)


def _posterior_share(t: Point, s: Point) -> float:
    return (s.gamma / t.gamma) ** 2 * t.alpha / s.alpha


def _averaged(x0: Tensor, x0_before: Tensor, before: Point, t: Point, s: Point) -> Tensor:
    """Mean of the linear extrapolation of x0_hat over k from k_t to k_s: its value half-way."""
    k_before, k_t, k_s = (_signal(p) for p in (before, t, s))
    return x0 + (0.5 * (k_s - k_t) / (k_t - k_before)) * (x0 - x0_before)


def _averaged_in_log(x0: Tensor, x0_before: Tensor, before: Point, t: Point, s: Point) -> Tensor:
    """Mean over k of the linear extrapolation of x0_hat in log k, from k_t to k_s."""
    if before.alpha == 0 or t.alpha == 0:
        return x0
    l_before, l_t, l_s = (math.log(_signal(p)) for p in (before, t, s))
    h = l_s - l_t
    share = (h + math.expm1(-h)) / (-math.expm1(-h) * (l_t - l_before))
    return x0 + share * (x0 - x0_before)


def _signal(p: Point) -> float:
    return (p.alpha / p.gamma) ** 2
