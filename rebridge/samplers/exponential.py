"""Exponential integrators of the reverse SDE (UniDB++, arXiv 2505.21528).

The linear part is solved exactly. With the clean estimate frozen over a step the solution is the Markov posterior,

    x_s = alpha_s x0_hat + beta_s y + c (x_t - alpha_t x0_hat - beta_t y) + eta * rho z,
    c = gamma_s^2 alpha_t / (gamma_t^2 alpha_s),     rho^2 = gamma_s^2 (1 - gamma_s^2 alpha_t^2 / (gamma_t^2 alpha_s^2)).

Order 2 lets x0_hat change along a line in log k, k = alpha^2/gamma^2: the exact solution averages x0_hat over k (derived), and k
grows geometrically in time along most bridges, so that a line in k itself runs away from the network.

With the noise n frozen instead, and N = gamma/alpha (derived; order 2 evaluates at the middle of the step in log k),

    x_s = beta_s y + alpha_s [(x_t - beta_t y) / alpha_t - 2 (N_t - N_s) n + eta sqrt(N_t^2 - N_s^2) z].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.denoisers import Estimate
from rebridge.samplers import unidb
from rebridge.samplers.base import Point, Sampler, Walk
from rebridge.samplers.dbim import begin_pinned
from rebridge.samplers.steps import (
    Start,
    at_pinned_end,
    check_start,
    is_singular,
    leave_end,
    marginal_step,
    markov_std,
)


@dataclass(frozen=True, kw_only=True)
class Exponential(Sampler):
    """The solvers of UniDB++, for a frozen estimate or noise (arXiv 2505.21528).

    Args:
        order: 1 or 2. Order 2 costs no more evaluations with `prediction` "x0", and two a step with "noise".
        eta: scale of the noise, in [0, 1]; 1 is the SDE, 0 its mean-ODE.
        prediction: what is held over a step, "x0" (their data-solvers) or "noise" (their noise-solvers). The step to t = 0 gives
            the estimate in either case.
        extrapolate: variable in which order 2 extends x0_hat along a line, "log" for log k, or "k".
        start: how to leave an end that is y; by default "noise" for eta > 0 and "mean" for eta = 0, where no noise is left there.
        compat: the released code's steps on UniDB and GOUB, slips included: see `rebridge.samplers.unidb`.
        steps: number of steps of the default grid, at least 1.
        grid: "uniform", "quadratic", "cosine", "karras" or "log-snr".
    """

    name: ClassVar[str] = "exponential"
    needs_noise: ClassVar[bool] = True

    order: int = 1
    eta: float = 0.0
    prediction: Literal["x0", "noise"] = "x0"
    extrapolate: Literal["log", "k"] = "log"
    start: Start | None = None
    compat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_start(self.start)
        if self.order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {self.order}")
        if self.extrapolate not in ("k", "log"):
            raise ValueError(f"extrapolate must be k or log, got {self.extrapolate!r}")
        if self.prediction not in ("x0", "noise"):
            raise ValueError(f"prediction must be x0 or noise, got {self.prediction!r}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")

    @property
    def calls_per_step(self) -> int:
        """2 for the noise at order 2, else 1."""
        return 2 if self._has_middle else 1

    @property
    def _has_middle(self) -> bool:
        return self.order == 2 and self.prediction == "noise"

    def check(self, bridge: Bridge) -> None:
        super().check(bridge)
        if self.compat:
            unidb.check(bridge)

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        return begin_pinned(self, walk, x, times)

    def inner_times(self, bridge: Bridge, times: Tensor) -> Tensor:
        """Choose the middle of each step in log k, for the noise solver of order 2."""
        if not self._has_middle:
            return times[:0]
        if self.compat:
            return unidb.middles(bridge, times)
        levels = bridge.noise_level(times)
        level = (levels[:-1] * levels[1:]).sqrt()
        inside = (level > 0) & torch.isfinite(level)
        middle = (times[:-1] + times[1:]) / 2
        middle[inside] = bridge.time_of_level(level[inside])
        return middle

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        if self.compat:
            return unidb.step(walk, x, t, s, prediction=self.prediction, order=self.order, eta=self.eta)
        if is_singular(walk.bridge, t) or (self.start is not None and at_pinned_end(walk.bridge, t)):
            return leave_end(walk, x, t, s, self.start or ("noise" if self.eta > 0 else "mean"))
        estimate = walk.estimate(x, t)
        if self.prediction == "noise" and s.t > 0 and t.alpha > 0:
            return self._noise_step(walk, x, estimate, t, s)
        kept = _posterior_share(t, s)
        if self.order == 2 and self.prediction == "x0" and not s.last and estimate.noise is None:
            estimate = self._extrapolated(walk, estimate, t, s)
        added = 0.0 if s.last else self.eta * markov_std(t, s)
        return marginal_step(walk, x, estimate, t, s, kept=kept, added=added)

    def _extrapolated(self, walk: Walk, estimate: Estimate, t: Point, s: Point) -> Estimate:
        """The mean of x0_hat over the step, by the line through the last two estimates."""
        if len(walk.history) < 2 or walk.history[-2][0].gamma == 0 or walk.history[-2][0].alpha == 0:
            return estimate
        before, x0_before = walk.history[-2]
        averaged = _averaged_in_log if self.extrapolate == "log" else _averaged
        return Estimate(averaged(estimate.x0, x0_before, before, t, s))

    def _noise_step(self, walk: Walk, x: Tensor, estimate: Estimate, t: Point, s: Point) -> Tensor:
        eta = 0.0 if s.last else self.eta
        n = _noise_of(walk, x, estimate, t)
        if self.order == 1:
            return _frozen_noise(walk, x, n, t, s) + _fresh(walk, estimate.x0, s, eta, t, s)
        middle = walk.inner[t]
        first = _fresh(walk, estimate.x0, middle, eta, t, middle)
        x_middle = _frozen_noise(walk, x, n, t, middle) + first
        change = _noise_of(walk, x_middle, walk.estimate(x_middle, middle, remember=False), middle) - n
        level_t, level_s = t.gamma / t.alpha, s.gamma / s.alpha
        half, h = 2 * math.log(level_t * middle.alpha / middle.gamma), 2 * math.log(level_t / level_s)
        weight = -4 * s.alpha * (level_t - (1 + h / 2) * level_s) / half
        second = _fresh(walk, estimate.x0, s, eta, middle, s)
        return _frozen_noise(walk, x, n, t, s) + weight * change + (s.alpha / middle.alpha) * first + second


def _noise_of(walk: Walk, x: Tensor, estimate: Estimate, t: Point) -> Tensor:
    if estimate.noise is not None:
        return estimate.noise
    return (x - t.alpha * estimate.x0 - t.beta * walk.y) / t.gamma


def _frozen_noise(walk: Walk, x: Tensor, n: Tensor, t: Point, s: Point) -> Tensor:
    """The mean at s with the noise held fixed."""
    ratio = s.alpha / t.alpha
    lost = 2 * s.alpha * (t.gamma / t.alpha - s.gamma / s.alpha)
    return ratio * x + (s.beta - ratio * t.beta) * walk.y - lost * n


def _fresh(walk: Walk, x0: Tensor, at: Point, eta: float, t: Point, s: Point) -> Tensor:
    """The noise that a path gains between t and s, as it is in a state at `at`."""
    variance = (t.gamma / t.alpha) ** 2 - (s.gamma / s.alpha) ** 2
    if eta == 0 or variance <= 0:
        return torch.zeros_like(x0)
    return (eta * at.alpha * variance**0.5) * walk.bridge.modulate(x0, walk.y, walk.noise())


def _posterior_share(t: Point, s: Point) -> float:
    return (s.gamma / t.gamma) ** 2 * t.alpha / s.alpha


def _averaged(x0: Tensor, x0_before: Tensor, before: Point, t: Point, s: Point) -> Tensor:
    """Mean of the linear extrapolation of x0_hat over k from k_t to k_s: its value half-way."""
    k_before, k_t, k_s = (_signal(p) for p in (before, t, s))
    return x0 + (0.5 * (k_s - k_t) / (k_t - k_before)) * (x0 - x0_before)


def _averaged_in_log(x0: Tensor, x0_before: Tensor, before: Point, t: Point, s: Point) -> Tensor:
    """Mean over k of the linear extrapolation of x0_hat in log k, from k_t to k_s."""
    if t.alpha == 0 or s.gamma == 0:
        return x0
    l_before, l_t, l_s = (math.log(_signal(p)) for p in (before, t, s))
    h = l_s - l_t
    share = (h + math.expm1(-h)) / (-math.expm1(-h) * (l_t - l_before))
    return x0 + share * (x0 - x0_before)


def _signal(p: Point) -> float:
    return (p.alpha / p.gamma) ** 2
