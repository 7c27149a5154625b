"""DeqIR (arXiv 2311.11600): the chain of `fixed_point` as a method.

Its start can be tuned by a gradient through the fixed point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rebridge.inverse.methods.base import GridMethod, check_at_least, check_choice, check_share
from rebridge.inverse.methods.fixed_point import Chain, Mixing, implicit_gradient, solve_chain
from rebridge.inverse.operators import Operator
from rebridge.inverse.problem import Problem
from rebridge.samplers.base import Callback, Noise


@dataclass(frozen=True, kw_only=True)
class DeqIR(GridMethod):
    """Deep equilibrium restoration: a DDNM walk found in parallel sweeps.

    arXiv 2311.11600.

    With sweeps = steps it is that walk exactly.

    Args:
        steps: of the walk.
        grid: name of its default time grid, see `rebridge.samplers.times`.
        sweeps: number of parallel sweeps.
        eta: share of the one shared noise; 0 is deterministic. Both of the following, unless they are given.
        nw: the authors' noise weight: factor of the shared noise.
        etw: the authors' weight of the model's noise, of which sqrt(1 - etw^2) is kept.
        mixing: see `solve_chain`.
        memory: see `solve_chain`.
        lam: see `solve_chain`.
        beta: see `solve_chain`.
        tolerance: see `solve_chain`; above 0 it may end the sweeps early, and `calls` is then the most there can be.
        batch: most states in one network call.
        tune: steps of Adam on the starting noise, by the implicit gradient of the mean squared distance to `reference`.
        lr: of Adam.
        terms: see `implicit_gradient`.
        reference: (B, C, H, W) in the model's range, by default A^+ y.
    """

    name: ClassVar[str] = "deqir"
    linear_only: ClassVar[bool] = True

    steps: int = 25
    sweeps: int = 15
    eta: float = 0.0
    nw: float | None = None
    etw: float | None = None
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
        super().__post_init__()
        check_at_least(1, sweeps=self.sweeps, memory=self.memory)
        check_at_least(0, tune=self.tune)
        if self.batch is not None:
            check_at_least(1, batch=self.batch)
        check_choice("mixing", self.mixing, ("global", "per-step", "none"))
        check_share(eta=self.eta, nw=self.noise_weight, etw=self.model_weight)

    @property
    def noise_weight(self) -> float:
        """Factor of the shared noise."""
        return self.eta if self.nw is None else self.nw

    @property
    def model_weight(self) -> float:
        """Share of the model's noise that is left out."""
        return self.eta if self.etw is None else self.etw

    def reproduces_noise(self, operator: Operator) -> bool:
        return True

    @property
    def calls_of_one(self) -> int:
        """Evaluations of the network for one of the results that are averaged, exactly."""
        sweeps = min(self.sweeps, self.steps)
        solving = sweeps * self.steps - sweeps * (sweeps - 1) // 2
        return solving + self.tune * (solving + self.steps)

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        blank = problem.blank()
        chain = self.chain(problem, noise(blank) if self.noise_weight > 0 else None, times)
        start = problem.process.prior(blank, noise(blank)) if x is None else x
        if self.tune:
            start = self._tuned(chain, start)
        return self._solve(chain, start, callback)[1]

    def chain(self, problem: Problem, z: Tensor | None = None, times: Tensor | None = None) -> Chain:
        """Make the map whose fixed point is wanted.

        Args:
            problem: with a linear operator.
            z: the shared noise (B, C, H, W), needed for a noise weight above 0.
            times: of the walk, by default those of the grid.
        """
        grid = self.times(problem.process) if times is None else times
        return Chain(problem, grid, self.noise_weight, z, self.batch, self.model_weight)

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
