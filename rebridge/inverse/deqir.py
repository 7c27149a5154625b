"""DeqIR (arXiv 2311.11600): the chain of `fixed_point` as a solver; its start can be tuned by a gradient through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rebridge.catalogue import check_name
from rebridge.inverse.fixed_point import Chain, Mixing, implicit_gradient, solve_chain
from rebridge.inverse.guidance import check_linear
from rebridge.inverse.problem import Callback, Noise, Problem, Solver
from rebridge.samplers import times as grids


@dataclass(frozen=True, kw_only=True)
class DeqIR(Solver):
    """A DDNM walk of `steps` steps found in `sweeps` parallel sweeps; with sweeps = steps it is that walk exactly.

    eta: share of the one shared noise, 0 is deterministic. mixing, memory, lam, beta, tolerance: see `solve_chain`; above 0,
    tolerance may end the sweeps before their number, and `calls` is then the most there can be. batch: most states in one
    network call. tune: steps of Adam on the starting noise, by the implicit gradient of the mean squared distance to
    `reference`, (B, C, H, W) in the prior's range, or to A^+ y without one; lr: of Adam; terms: see `implicit_gradient`.
    """

    name: ClassVar[str] = "deqir"
    linear_only: ClassVar[bool] = True

    steps: int = 25
    grid: str = "uniform"
    sweeps: int = 15
    eta: float = 0.0
    mixing: Mixing = "global"
    memory: int = 5
    lam: float = 1e-3
    beta: float = 1.0
    tolerance: float = 0.0
    batch: int | None = None
    tune: int = 0
    lr: float = 0.02
    terms: int | None = None
    reference: Tensor | None = None

    def __post_init__(self) -> None:
        for key, low in (("steps", 1), ("sweeps", 1), ("memory", 1), ("tune", 0)):
            if getattr(self, key) < low:
                raise ValueError(f"{key} must be at least {low}, got {getattr(self, key)}")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")
        if self.mixing not in ("global", "per-step", "none"):
            raise ValueError(f"mixing must be global, per-step or none, got {self.mixing!r}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")
        check_name("time grid", self.grid, grids.GRIDS)

    @property
    def calls(self) -> int:
        sweeps = min(self.sweeps, self.steps)
        solving = sweeps * self.steps - sweeps * (sweeps - 1) // 2
        return solving + self.tune * (solving + self.steps)

    @torch.no_grad()
    def __call__(self, problem: Problem, noise: Noise = torch.randn_like, callback: Callback | None = None) -> Tensor:
        check_linear(problem.operator, self.name)
        blank = problem.blank()
        chain = self.chain(problem, noise(blank) if self.eta > 0 else None)
        start = problem.bridge.prior(blank, noise(blank))
        if self.tune:
            start = self._tuned(chain, start)
        return self._solve(chain, start, callback)[1]

    def chain(self, problem: Problem, z: Tensor | None = None) -> Chain:
        """The map whose fixed point is wanted; z: the shared noise."""
        times = grids.create(self.grid, problem.bridge, self.steps)
        return Chain(problem, times, self.eta, z, self.batch)

    def _solve(self, chain: Chain, start: Tensor, callback: Callback | None = None) -> tuple[Tensor, Tensor]:
        found = solve_chain(
            chain, start, self.sweeps, self.mixing, self.memory, self.lam, self.beta, self.tolerance, callback=callback
        )
        return found.states, found.end

    def _tuned(self, chain: Chain, start: Tensor) -> Tensor:
        operator, y = chain.problem.operator, chain.problem.y
        target = operator.A_dagger(y) if self.reference is None else self.reference
        start = start.clone()
        optimiser = torch.optim.Adam([start], lr=self.lr)
        for _ in range(self.tune):
            states, _ = self._solve(chain, start)
            start.grad, _ = implicit_gradient(
                chain, start, states, lambda end: (end - target).square().flatten(1).mean(1).sum(), self.terms
            )
            optimiser.step()
        start.grad = None
        return start
