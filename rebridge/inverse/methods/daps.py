"""DAPS (arXiv 2407.01521): an image drawn anew at each noise level.

At every time t of the grid, with the noise-to-signal ratio r = b_t / a_t,

    x0_hat   the end of the probability-flow ODE from x_t, in `ode_steps` calls
    x0       a draw from  N(x0; x0_hat, r^2) N(y; A x0, tau^2)
    x_s      a_s x0 + b_s z

The draw is exact where A is linear: a proximal step of the trust r^2 / tau^2 from x0_hat + r z_1 towards y + tau z_2 (derived;
the authors run Langevin dynamics for all operators). For other differentiable A, and with `inner="langevin"`, it is Langevin
dynamics from x0_hat, whose step falls over the walk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rebridge.inverse.methods.base import GridMethod, check_at_least, check_choice, check_positive
from rebridge.inverse.operators import Operator
from rebridge.inverse.problem import Problem
from rebridge.samplers.base import Callback, Noise, Point, Walk

LEAST_TAU = 0.01
"""Least standard deviation of the data in Langevin dynamics, the authors'."""
GREATEST_SPREAD = 100.0
"""Greatest standard deviation that an image is given before the data are seen, the authors' first noise level."""


@dataclass(frozen=True, kw_only=True)
class DAPS(GridMethod):
    """Decoupled annealing: at each noise level an image is drawn anew.

    arXiv 2407.01521; takes non-linear operators of which only a differentiable A is known.

    Args:
        steps: noise levels; 200 in the paper.
        grid: name of the default time grid, see `rebridge.samplers.times`.
        ode_steps: calls at each level.
        inner: how images are drawn, "exact" or "langevin"; by default exact where the operator is linear.
        tau: standard deviation of the data, by default that of the measurement's noise, in Langevin dynamics at least 0.01.
        langevin_steps: of each draw.
        lr: step of the Langevin dynamics at the first level.
        lr_min: its share that is left at the last level.
    """

    name: ClassVar[str] = "daps"
    needs_gradient: ClassVar[bool] = True

    steps: int = 20
    ode_steps: int = 5
    inner: Literal["exact", "langevin"] | None = None
    tau: float | None = None
    langevin_steps: int = 100
    lr: float = 1e-4
    lr_min: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, ode_steps=self.ode_steps, langevin_steps=self.langevin_steps)
        if self.inner is not None:
            check_choice("inner", self.inner, ("exact", "langevin"))
        check_positive(lr=self.lr, lr_min=self.lr_min)
        if self.tau is not None:
            check_positive(tau=self.tau)

    @property
    def calls_of_one(self) -> int:
        """Evaluations of the network for one of the results that are averaged, exactly."""
        return self.steps * self.ode_steps

    def check(self, operator: Operator) -> None:
        super().check(operator)
        if self.inner == "exact" and not operator.linear:
            raise ValueError(f"daps:inner=exact needs a linear operator, and {operator.name} is not: use langevin")

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        walk = Walk(problem.process, problem.denoiser, problem.blank(), noise)
        if x is None:
            x = problem.process.prior(walk.y, walk.noise())
        points, x0 = walk.points(times), x
        exact = self.inner == "exact" or (self.inner is None and problem.operator.linear)
        for i, (t, s) in enumerate(pairwise(points)):
            x0_hat = self._end(walk, x, t)
            spread = min(t.gamma / t.alpha, GREATEST_SPREAD) if t.alpha > 0 else GREATEST_SPREAD
            if exact:
                x0 = self._drawn(problem, x0_hat, spread, noise)
            else:
                x0 = self._langevin(problem, x0_hat, spread, i / (len(points) - 1), noise)
            if callback is not None:
                callback(i, t.t, x, x0)
            if not s.last:
                x = s.alpha * x0 + s.gamma * walk.noise()
        return x0

    def _end(self, walk: Walk, x: Tensor, t: Point) -> Tensor:
        """The end of the probability-flow ODE from x at t, by deterministic steps even in time."""
        grid = t.t * torch.linspace(1, 0, self.ode_steps + 1, dtype=torch.float64)
        for now, then in pairwise(walk.points(grid)):
            x0 = walk.estimate(x, now).x0
            kept = then.gamma / now.gamma
            x = (then.alpha - kept * now.alpha) * x0 + kept * x
        return x

    def _drawn(self, problem: Problem, x0_hat: Tensor, spread: float, noise: Noise) -> Tensor:
        """An exact draw, for a linear operator."""
        tau = problem.sigma_y if self.tau is None else self.tau
        y = problem.y + tau * noise(problem.y) if tau > 0 else problem.y
        trust = math.inf if tau == 0 else (spread / tau) ** 2
        return problem.operator.prox_l2(x0_hat + spread * noise(x0_hat), y, trust)

    def _langevin(self, problem: Problem, x0_hat: Tensor, spread: float, done: float, noise: Noise) -> Tensor:
        """A draw by Langevin dynamics from x0_hat."""
        tau = max(problem.sigma_y, LEAST_TAU) if self.tau is None else self.tau
        lr = self.lr * (1 + done * (self.lr_min - 1))
        x0 = x0_hat
        for _ in range(self.langevin_steps):
            score = (x0_hat - x0) / spread**2 - problem.operator.misfit_gradient(x0, problem.y) / tau**2
            x0 = x0 + lr * score + (2 * lr) ** 0.5 * noise(x0)
        return x0
