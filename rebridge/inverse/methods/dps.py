"""DPS (arXiv 2209.14687): each step also descends the misfit, through the model.

    x_s = a_s x0_hat + c1 z + sqrt(b_s^2 - c1^2) eps - scale grad |y - A x0_hat(x_t)|

with c1 = eta times the noise of the Markov posterior. eta = 1 is the paper's ancestral sampling, eta = 0 the deterministic walk
of RED-diff's code (whose weight is half of this scale).
The gradient is taken with respect to x_t. The paper's scales, 0.3 to 1, belong to 1000 steps; with fewer steps each has to pull
harder, so that the default is in proportion to the length of a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from rebridge.inverse.methods.base import GridMethod, check_positive, check_share
from rebridge.inverse.methods.guided import Reuse, State, column, pulled_back
from rebridge.inverse.operators import Measures, Operator, as_operator
from rebridge.inverse.problem import Problem
from rebridge.samplers.base import Callback, Noise, Walk
from rebridge.samplers.steps import markov_std

SCALE_OF_TIME = 300.0
"""Default scale of a step, per unit of time: the 0.3 of the paper for a thousandth. At most `GREATEST_SCALE`."""
GREATEST_SCALE = 4.0


@dataclass(frozen=True)
class Posterior:
    """Guidance by the gradient of |y - A x0_hat| through the model.

    x0~ = x0_hat - (scale / a) grad |y - A x0_hat|, so that a walk moves each state by scale times the gradient, up to the factor
    a_s / a_t of one step.

    Args:
        operator: A, linear or differentiable.
        y: measurements (B, ...).
        scale: step size.
        reuse: which noise the next step of the walk reuses.
    """

    operator: Measures
    y: Tensor
    scale: float = 1.0
    reuse: Reuse = "model"

    def __post_init__(self) -> None:
        operator = as_operator(self.operator, self.y)
        DPS().check(operator)
        check_positive(scale=self.scale)
        object.__setattr__(self, "operator", operator)

    def clean(self, denoise: Callable[[Tensor], Tensor], state: State) -> tuple[Tensor, Tensor]:
        """Correct the estimate in a state, see `Guidance`."""
        operator = as_operator(self.operator, self.y)
        x0_hat, gradient = misfit_slope(denoise, state.x_t, operator, self.y)
        return x0_hat, x0_hat - gradient * column(self.scale / state.at.alpha, gradient)


@dataclass(frozen=True, kw_only=True)
class DPS(GridMethod):
    """Diffusion posterior sampling: the gradient of the misfit through the prior.

    The misfit is |y - A x0_hat|; arXiv 2209.14687.

    Args:
        steps: of the default time grid, one call each.
        grid: its name, see `rebridge.samplers.times`.
        scale: step size; by default 0.3 in a walk of 1000 steps, in shorter ones in proportion to the length of a step, up to 4.
        eta: share of the Markov posterior's noise; 1 is the paper's ancestral sampling, 0 is deterministic.
    """

    name: ClassVar[str] = "dps"
    needs_gradient: ClassVar[bool] = True
    differentiates: ClassVar[bool] = True

    scale: float | None = None
    eta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale is not None:
            check_positive(scale=self.scale)
        check_share(eta=self.eta)

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> Posterior:
        """Make the correction of the estimates, for walks of other samplers."""
        return Posterior(operator, y, self.scale_of(1 / self.steps))

    def scale_of(self, length: float) -> float:
        """The step size of a step of that length in time."""
        return min(SCALE_OF_TIME * length, GREATEST_SCALE) if self.scale is None else self.scale

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        walk = Walk(problem.process, problem.denoiser, problem.blank(), noise)
        points = walk.points(times)
        if x is None:
            x = problem.process.prior(walk.y, walk.noise())
        for i, (t, s) in enumerate(pairwise(points)):
            x0_hat, gradient = misfit_slope(partial(problem.estimate, t=t.t), x, problem.operator, problem.y)
            if callback is not None:
                callback(i, t.t, x, x0_hat)
            added = 0.0 if s.last else self.eta * markov_std(t, s)
            kept = max(s.gamma**2 - added**2, 0.0) ** 0.5 / t.gamma
            x = (s.alpha - kept * t.alpha) * x0_hat + kept * x - self.scale_of(t.t - s.t) * gradient
            if added > 0:
                x = x + added * walk.noise()
        return x


def misfit_slope(
    denoise: Callable[[Tensor], Tensor], x_t: Tensor, operator: Operator, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute x0_hat and the gradient of |y - A x0_hat(x_t)| in x_t.

    Both (B, C, H, W).
    """

    def pull(x0_hat: Tensor) -> Tensor:
        norm = (operator.A(x0_hat) - y).flatten(1).norm(dim=1)
        return operator.misfit_gradient(x0_hat, y) / column(norm.clamp(min=1e-12), x0_hat)

    return pulled_back(denoise, x_t, pull)
