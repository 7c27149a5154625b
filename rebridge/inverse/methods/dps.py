"""DPS (arXiv 2209.14687): the gradient of the misfit through the model.

    x0~ = x0_hat + (scale / a) J^T A^T (y - A x0_hat) / |y - A x0_hat|,        J = d x0_hat / d x_t

The walk multiplies x0~ by a_s, so each state moves by scale times the gradient of the norm, as in the paper, up to the factor
a_s / a_t of one step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rebridge.inverse.methods.base import check_linear, check_positive, check_share
from rebridge.inverse.methods.guided import GuidedMethod, Reuse, State, column, pulled_back
from rebridge.inverse.operators import Measures, as_operator


@dataclass(frozen=True)
class Posterior:
    """Guidance by the gradient of |y - A x0_hat| through the model.

    Args:
        operator: A, linear.
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
        check_linear(operator, "dps")
        check_positive(scale=self.scale)
        object.__setattr__(self, "operator", operator)

    def clean(self, denoise: Callable[[Tensor], Tensor], state: State) -> tuple[Tensor, Tensor]:
        """Correct the estimate in a state, see `Guidance`."""

        def pull(x0_hat: Tensor) -> Tensor:
            rest = self.y - self.operator.A(x0_hat)
            norm = column(rest.flatten(1).norm(dim=1), rest)
            return self.operator.A_adjoint(rest / norm.clamp(min=1e-12))

        x0_hat, gradient = pulled_back(denoise, state.x_t, pull)
        return x0_hat, x0_hat + gradient * column(self.scale / state.at.alpha, gradient)


@dataclass(frozen=True, kw_only=True)
class DPS(GuidedMethod):
    """Diffusion posterior sampling: the gradient of the misfit through the prior.

    The misfit is |y - A x0_hat|; arXiv 2209.14687.

    Args:
        steps: of the default time grid, one call each.
        grid: its name, see `rebridge.samplers.times`.
        scale: step size; the paper's 0.3 to 1 belong to 1000 steps.
        eta: each step draws eta^2 of the noise's variance anew; 1 is the paper's ancestral sampling.
    """

    name: ClassVar[str] = "dps"
    linear_only: ClassVar[bool] = True
    differentiates: ClassVar[bool] = True

    scale: float = 1.0
    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(scale=self.scale)
        check_share(eta=self.eta)

    @property
    def fresh(self) -> float:
        """Share of the noise's variance that each step draws anew."""
        return self.eta**2

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> Posterior:
        """Make the correction of the estimates."""
        return Posterior(operator, y, self.scale)
