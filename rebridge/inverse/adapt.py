"""SCD, steerable conditional diffusion (arXiv 2308.14409): the prior is adapted to one measurement while it is solved.

At each time t of the walk, with LoRA weights theta in the prior's network that persist from step to step,

    now and then     K steps of Adam on theta for mean((A x~ - y)^2) + tv TV(x~)
    x~   = argmin_v gamma/2 |A v - y|^2 + 1/2 |v - x0_theta(x_t)|^2
    x_s  = a_s x~ + c1 z + sqrt(b_s^2 - c1^2) eps_0,      c1 = eta times the noise of the Markov posterior,

eps_0 being the noise of the prior *without* theta. The authors' code runs three conjugate gradients for x~ and differentiates
them; here x~ is exact, and its derivative in x0_theta, (I + gamma A^T A)^-1, is one more proximal step with y = 0. What comes
back is the last x~, where theirs is the last x0_theta.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.catalogue import check_name
from rebridge.denoisers import Denoiser, as_estimate
from rebridge.inverse.guidance import check_linear
from rebridge.inverse.lora import Adapters
from rebridge.inverse.operators import Measures
from rebridge.inverse.problem import Callback, Noise, Problem, Solver
from rebridge.samplers import times as grids
from rebridge.samplers.base import Point, Walk, markov_std


@dataclass(frozen=True, kw_only=True)
class SCD(Solver):
    """DDS with a prior that learns from the measurement; each image of a batch has adapters of its own.

    steps: two calls each. gamma: of the proximal step. rank, lr: of the adapters. iterations: K, each one call that is also
    differentiated. every: adapt at every so manieth step, and at the last four. tv: weight of the total variation, a sum over
    pixels. eta: share of fresh noise. adapt: False leaves the prior as it is, for comparison. seed: of the adapters.
    """

    name: ClassVar[str] = "scd"
    linear_only: ClassVar[bool] = True
    differentiates: ClassVar[bool] = True

    steps: int = 100
    grid: str = "uniform"
    gamma: float = 10.0
    rank: int = 8
    iterations: int = 12
    lr: float = 1e-4
    every: int = 20
    tv: float = 1e-6
    eta: float = 0.2
    adapt: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for key in ("steps", "rank", "iterations", "every"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        if not (self.gamma > 0 and self.lr > 0 and self.tv >= 0):
            raise ValueError(f"gamma and lr must be positive and tv at least 0, got {self.gamma}, {self.lr}, {self.tv}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")
        check_name("time grid", self.grid, grids.GRIDS)

    @property
    def calls(self) -> int:
        if not self.adapt:
            return self.steps
        return 2 * self.steps + self.iterations * sum(self._adapts(i) for i in range(self.steps))

    def _adapts(self, step: int) -> bool:
        return step % self.every == 0 or step >= self.steps - 4

    @torch.no_grad()
    def __call__(self, problem: Problem, noise: Noise = torch.randn_like, callback: Callback | None = None) -> Tensor:
        check_linear(problem.operator, self.name)
        if self.adapt and problem.network is None:
            raise ValueError("scd adapts a network, and this prior has none")
        blank = problem.blank()
        x = problem.bridge.prior(blank, noise(blank))
        draws = [noise(blank) for _ in range(self.steps - 1)] if self.eta > 0 else []
        found = []
        for index in range(len(x)):
            row = slice(index, index + 1)
            steps = Steps(self, problem.row(index), [z[row] for z in draws], callback)
            found.append(steps.run(x[row]))
        return torch.cat(found)


class Steps:
    """The walk of one image."""

    def __init__(self, settings: SCD, problem: Problem, draws: list[Tensor], callback: Callback | None) -> None:
        self.settings, self.problem, self.draws, self.callback = settings, problem, draws, callback

    def run(self, x: Tensor) -> Tensor:
        """From x (1, C, H, W) at t = 1 to the restored image."""
        settings, problem = self.settings, self.problem
        walk = Walk(problem.bridge, problem.prior, torch.zeros_like(x), torch.randn_like)
        points = walk.points(grids.create(settings.grid, problem.bridge, settings.steps))
        if not settings.adapt:
            return self._walk(x, points, None)
        assert problem.network is not None
        with Adapters(problem.network, settings.rank, settings.seed) as lora:
            return self._walk(x, points, lora)

    def _walk(self, x: Tensor, points: list[Point], lora: Adapters | None) -> Tensor:
        settings = self.settings
        optimiser = None if lora is None else torch.optim.Adam(lora.parameters, lr=settings.lr)
        refined = x
        for i, (t, s) in enumerate(pairwise(points)):
            if lora is not None:
                lora.on(False)
            x0 = self._clean(x, t)
            eps = (x - t.alpha * x0) / t.gamma
            if lora is not None and optimiser is not None:
                lora.on(True)
                for _ in range(settings.iterations if settings._adapts(i) else 0):
                    self._learn(x, t, optimiser)
                x0 = self._clean(x, t)
            refined = self._fitted(x0)
            if self.callback is not None:
                self.callback(i, t.t, x, refined)
            added = 0.0 if s.last else settings.eta * markov_std(t, s)
            x = s.alpha * refined + max(s.gamma**2 - added**2, 0.0) ** 0.5 * eps
            if added > 0:
                x = x + added * self.draws[i]
        return refined

    def _clean(self, x: Tensor, t: Point) -> Tensor:
        return clean(self.problem.prior, x, t.t)

    def _fitted(self, x0: Tensor) -> Tensor:
        return self.problem.operator.prox_l2(x0, self.problem.y, self.settings.gamma)

    def _learn(self, x: Tensor, t: Point, optimiser: torch.optim.Optimizer) -> None:
        operator, y = self.problem.operator, self.problem.y
        optimiser.zero_grad()
        with torch.enable_grad():
            refined: Tensor = _Proximal.apply(self._clean(x, t), y, operator, self.settings.gamma)
            measured: Tensor = _Measured.apply(refined, operator)
            loss = (measured - y).square().mean() + self.settings.tv * total_variation(refined)
            loss.backward()
        optimiser.step()


def clean(prior: Denoiser, x: Tensor, t: float) -> Tensor:
    """The prior's x0_hat in a state x (B, C, H, W) at one time."""
    times = torch.full((len(x),), t, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)
    return as_estimate(prior(x, times.to(x.device), torch.zeros_like(x))).x0


def total_variation(x: Tensor) -> Tensor:
    """The sum of absolute differences of neighbours, of all images."""
    return x.diff(dim=-1).abs().sum() + x.diff(dim=-2).abs().sum()


class _Proximal(torch.autograd.Function):
    """prox_l2 with its derivative in z: (I + gamma A^T A)^-1 is symmetric, and the proximal step with y = 0."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, y: Tensor, operator: Measures, gamma: float) -> Tensor:
        ctx.operator, ctx.gamma, ctx.blank = operator, gamma, torch.zeros_like(y)
        return operator.prox_l2(z, y, gamma)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.operator.prox_l2(gradients[0], ctx.blank, ctx.gamma), None, None, None


class _Measured(torch.autograd.Function):
    """A with its derivative A^T, for operators that automatic differentiation cannot follow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Measures) -> Tensor:
        ctx.operator = operator
        return operator.A(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.operator.A_adjoint(gradients[0]), None
