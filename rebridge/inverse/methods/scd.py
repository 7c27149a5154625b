"""SCD (arXiv 2308.14409): the model is adapted to the measurement.

At each time t of the walk, with LoRA weights theta in the network that persist from step to step,

    every `every`    K steps of Adam on theta for mean((A x~ - y)^2) + tv TV(x~)
    x~   = argmin_v gamma/2 |A v - y|^2 + 1/2 |v - x0_theta(x_t)|^2
    x_s  = a_s x~ + c1 z + sqrt(b_s^2 - c1^2) eps_0,      c1 = eta times the noise of the Markov posterior,

eps_0 being the noise of the model *without* theta. The authors' code runs three conjugate gradients for x~ and differentiates
them (`conjugate=3`); by default x~ is exact, and its derivative in x0_theta, (I + gamma A^T A)^-1, is one more proximal step with
y = 0. What comes back is the last x~, where theirs is the last x0_theta (`last="model"`). Total variation leaves out the
differences in the last row and column as theirs does, unless `border=True`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rebridge.inverse.methods.base import GridMethod, check_at_least, check_choice, check_share
from rebridge.inverse.methods.lora import Adapters
from rebridge.inverse.operators import Operator
from rebridge.inverse.problem import Problem
from rebridge.samplers.base import Callback, Noise, Point, Walk
from rebridge.samplers.steps import markov_std


@dataclass(frozen=True, kw_only=True)
class SCD(GridMethod):
    """DDS with a prior that learns from the measurement (arXiv 2308.14409).

    Each image of a batch has adapters of its own.

    Args:
        steps: of the default time grid, two calls each.
        grid: its name, see `rebridge.samplers.times`.
        gamma: weight of the measurement in the proximal step.
        rank: of the adapters.
        iterations: K, each one call that is also differentiated.
        lr: of the adapters.
        every: adapt every `every` steps, counted back from the last one, and in the last four.
        tv: weight of the total variation, a sum over pixels.
        eta: share of fresh noise.
        adapt: False leaves the model as it is, for comparison.
        seed: of the adapters.
        conjugate: number of conjugate gradients for x~, None for the exact one.
        border: count the differences in the last row and column in the total variation, which the authors' code leaves out.
        last: the result, "data" for the last x~, "model" for the last x0_theta.
    """

    name: ClassVar[str] = "scd"
    linear_only: ClassVar[bool] = True
    differentiates: ClassVar[bool] = True

    gamma: float = 10.0
    rank: int = 8
    iterations: int = 12
    lr: float = 1e-4
    every: int = 20
    tv: float = 1e-6
    eta: float = 0.2
    adapt: bool = True
    seed: int = 0
    conjugate: int | None = None
    border: bool = False
    last: Literal["data", "model"] = "data"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("last", self.last, ("data", "model"))
        if self.conjugate is not None:
            check_at_least(1, conjugate=self.conjugate)
        check_at_least(1, rank=self.rank, iterations=self.iterations, every=self.every)
        if not (self.gamma > 0 and self.lr > 0 and self.tv >= 0):
            raise ValueError(f"gamma and lr must be positive and tv at least 0, got {self.gamma}, {self.lr}, {self.tv}")
        check_share(eta=self.eta)

    @property
    def calls_of_one(self) -> int:
        """Evaluations of the network for one of the results that are averaged, exactly."""
        if not self.adapt:
            return self.steps
        return 2 * self.steps + self.iterations * sum(self.adapts(i, self.steps) for i in range(self.steps))

    def reproduces_noise(self, operator: Operator) -> bool:
        return self.gamma > 1

    def adapts(self, step: int, steps: int) -> bool:
        """Return True if the adapters learn in step number `step`, from 0, of `steps`."""
        return (steps - 1 - step) % self.every == 0 or step >= steps - 4

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        if self.adapt and problem.network is None:
            raise ValueError("scd adapts a network, and this prior has none")
        blank = problem.blank()
        if x is None:
            x = problem.process.prior(blank, noise(blank))
        draws = [noise(blank) for _ in range(len(times) - 2)] if self.eta > 0 else []
        found = []
        for index in range(len(x)):
            row = slice(index, index + 1)
            steps = Steps(self, problem.row(index), times, [z[row] for z in draws], callback)
            found.append(steps.run(x[row]))
        return torch.cat(found)


class Steps:
    """The walk of one image.

    Args:
        settings: of the method.
        problem: of one measurement.
        times: of the walk, float64.
        draws: fresh noise of each step but the last, empty for none.
        callback: as in `Method.__call__`.
    """

    def __init__(
        self, settings: SCD, problem: Problem, times: Tensor, draws: list[Tensor], callback: Callback | None
    ) -> None:
        self.settings, self.problem, self.times = settings, problem, times
        self.draws, self.callback = draws, callback

    def run(self, x: Tensor) -> Tensor:
        """Walk from x (1, C, H, W) at times[0] to the restored image."""
        settings, problem = self.settings, self.problem
        walk = Walk(problem.process, problem.denoiser, torch.zeros_like(x), torch.randn_like)
        points = walk.points(self.times)
        if not settings.adapt:
            return self._walk(x, points, None)
        assert problem.network is not None
        with Adapters(problem.network, settings.rank, settings.seed) as lora:
            return self._walk(x, points, lora)

    def _walk(self, x: Tensor, points: list[Point], lora: Adapters | None) -> Tensor:
        settings = self.settings
        optimiser = None if lora is None else torch.optim.Adam(lora.parameters, lr=settings.lr)
        refined = x0 = x
        for i, (t, s) in enumerate(pairwise(points)):
            if lora is not None:
                lora.switch(on=False)
            x0 = self.problem.estimate(x, t.t)
            eps = (x - t.alpha * x0) / t.gamma
            if lora is not None and optimiser is not None:
                lora.switch(on=True)
                for _ in range(settings.iterations if settings.adapts(i, len(points) - 1) else 0):
                    self._learn(x, t, optimiser)
                x0 = self.problem.estimate(x, t.t)
            refined = self._fitted(x0)
            if self.callback is not None:
                self.callback(i, t.t, x, refined)
            added = 0.0 if s.last else settings.eta * markov_std(t, s)
            x = s.alpha * refined + max(s.gamma**2 - added**2, 0.0) ** 0.5 * eps
            if added > 0:
                x = x + added * self.draws[i]
        return refined if settings.last == "data" else x0

    def _fitted(self, x0: Tensor) -> Tensor:
        if self.settings.conjugate is not None:
            return conjugate_step(x0, self.problem, self.settings.gamma, self.settings.conjugate)
        return self.problem.operator.prox_l2(x0, self.problem.y, self.settings.gamma)

    def _learn(self, x: Tensor, t: Point, optimiser: torch.optim.Optimizer) -> None:
        operator, y = self.problem.operator, self.problem.y
        optimiser.zero_grad()
        with torch.enable_grad():
            refined = self._differentiable_fit(self.problem.estimate(x, t.t))
            measured: Tensor = _DifferentiableA.apply(refined, operator)
            loss = (measured - y).square().mean() + self.settings.tv * total_variation(refined, self.settings.border)
            loss.backward()
        optimiser.step()

    def _differentiable_fit(self, x0: Tensor) -> Tensor:
        if self.settings.conjugate is not None:
            return self._fitted(x0)
        fitted: Tensor = _DifferentiableProx.apply(x0, self.problem.y, self.problem.operator, self.settings.gamma)
        return fitted


def total_variation(x: Tensor, border: bool = True) -> Tensor:
    """Sum the absolute differences of neighbours, of all images.

    border: with those in the last row and in the last column.
    """
    across, down = x.diff(dim=-1), x.diff(dim=-2)
    if not border:
        across, down = across[..., :-1, :], down[..., :-1]
    return across.abs().sum() + down.abs().sum()


def conjugate_step(z: Tensor, problem: Problem, gamma: float, iterations: int) -> Tensor:
    """Approximate the proximal step by conjugate gradients from z.

    Differentiable in z. They solve (I + gamma A^T A) v = z + gamma A^T y, and stop where nothing is left to solve.
    """
    operator = problem.operator

    def normal(v: Tensor) -> Tensor:
        seen: Tensor = _DifferentiableA.apply(v, operator)
        pulled: Tensor = _DifferentiableAdjoint.apply(seen, operator)
        return v + gamma * pulled

    v = z
    rest = z + gamma * operator.A_adjoint(problem.y) - normal(v)
    direction, size = rest, rest.square().sum()
    for _ in range(iterations):
        if size <= 1e-30 * z.detach().square().sum():
            break
        image = normal(direction)
        step = size / (direction * image).sum()
        v, rest = v + step * direction, rest - step * image
        following = rest.square().sum()
        direction, size = rest + (following / size) * direction, following
    return v


class _DifferentiableProx(torch.autograd.Function):
    """prox_l2 with its derivative in z: (I + gamma A^T A)^-1 is symmetric, and the proximal step with y = 0."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, y: Tensor, operator: Operator, gamma: float) -> Tensor:
        ctx.operator, ctx.gamma, ctx.blank = operator, gamma, torch.zeros_like(y)
        return operator.prox_l2(z, y, gamma)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.operator.prox_l2(gradients[0], ctx.blank, ctx.gamma), None, None, None


class _DifferentiableA(torch.autograd.Function):
    """A with its derivative A^T, for operators that automatic differentiation cannot follow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Operator) -> Tensor:
        ctx.operator = operator
        return operator.A(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.operator.A_adjoint(gradients[0]), None


class _DifferentiableAdjoint(torch.autograd.Function):
    """A^T with its derivative A."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, operator: Operator) -> Tensor:
        ctx.operator = operator
        return operator.A_adjoint(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.operator.A(gradients[0]), None
