"""Pi-GDM (ICLR 2023): the proximal correction pulled back through the model.

    x0~ = x0_hat + w J^T (prox(x0_hat) - x0_hat),        J = d x0_hat / d x_t,    gamma = r^2 / s_y^2

w = a is the paper's algorithm with its weight r^2, as its authors' code has it. With w = b^2 / (a r^2) and the noise that x0~
implies, x0~ is the exact posterior mean where A^T (s_y^2 I + r^2 A A^T)^-1 (y - A x0_hat) is the score in x0_hat (derived);
with a network it trusts J at times where a is small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rebridge.inverse.methods.base import check_choice, check_positive, check_share
from rebridge.inverse.methods.guided import (
    GuidedMethod,
    Proximal,
    Reuse,
    State,
    column,
    likelihood_trust,
    pulled_back,
    variance_of,
)
from rebridge.inverse.operators import Measures, as_operator


@dataclass(frozen=True)
class PseudoInverse:
    """Guidance by the proximal correction pulled back through the model (ICLR 2023).

    Args:
        operator: A.
        y: measurements (B, ...).
        sigma_y: standard deviation of their noise.
        reuse: noise that the next step reuses; "model": w = a, "refined": w = b^2 / (a r^2).
        weight: factor of w.
    """

    operator: Measures
    y: Tensor
    sigma_y: float
    reuse: Reuse = "model"
    weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "operator", as_operator(self.operator, self.y))

    def clean(self, denoise: Callable[[Tensor], Tensor], state: State) -> tuple[Tensor, Tensor]:
        """Correct the estimate in a state, see `Guidance`."""
        a, b = state.at.alpha, state.at.gamma
        variance = variance_of(state.at, "unit")
        step = Proximal(self.operator, self.y, likelihood_trust(self.sigma_y, "unit"))
        x0_hat, gradient = pulled_back(denoise, state.x_t, lambda x0: step.correct(x0, state.at) - x0)
        weight = a if self.reuse == "model" else b.square() / (a * variance)
        return x0_hat, x0_hat + gradient * column(self.weight * weight, gradient)


@dataclass(frozen=True, kw_only=True)
class PiGDM(GuidedMethod):
    """Pseudo-inverse guidance: a proximal correction pulled back through the prior.

    ICLR 2023.

    Args:
        steps: of the default time grid, one call each.
        grid: its name, see `rebridge.samplers.times`.
        eta: share of the Markov posterior's noise that each step draws, DDIM's eta.
        weight: of the correction, 1 in the paper.
        reuse: noise that the next step reuses, the "model"'s or the "refined" one, see `PseudoInverse`.
    """

    name: ClassVar[str] = "pigdm"
    differentiates: ClassVar[bool] = True

    eta: float = 0.0
    weight: float = 1.0
    reuse: Reuse = "model"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(eta=self.eta)
        check_positive(weight=self.weight)
        check_choice("reuse", self.reuse, ("model", "refined"))

    @property
    def markov(self) -> float:
        """Share of the Markov posterior's noise that each step draws."""
        return self.eta

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> PseudoInverse:
        """Make the correction of the estimates."""
        return PseudoInverse(operator, y, sigma_y, self.reuse, self.weight)
