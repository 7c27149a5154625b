"""Noise-refined likelihood guidance (arXiv 2506.13391).

Derived: only the abstract was at hand.

    gamma = r^2 / s_y^2,    r^2 = b^2 / a^2 or b^2 / (a^2 + b^2),        eps of the next step: refined

The refined noise is the likelihood's score in closed form, without back-propagation: eps' = eps - b s with
s = (a r^2/b^2) A^T (s_y^2 I + r^2 A A^T)^-1 (y - A x0_hat).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rebridge.inverse.methods.base import check_choice
from rebridge.inverse.methods.guided import GuidedMethod, Proximal, Reuse, Variance, likelihood_trust
from rebridge.inverse.operators import Measures
from rebridge.inverse.problem import check_sigma


@dataclass(frozen=True, kw_only=True)
class NoiseRefined(GuidedMethod):
    """Noise-refined likelihood guidance, in closed form (arXiv 2506.13391, derived).

    Args:
        steps: of the default time grid, one call each.
        grid: its name, see `rebridge.samplers.times`.
        variance: of x0 given x_t, "flat" for b^2 / a^2, from x0 = x_t / a - (b / a) eps, or "unit" for
            b^2 / (a^2 + b^2), that of a prior of unit variance.
        reuse: noise that the next step reuses, "refined" or the "model"'s.
    """

    name: ClassVar[str] = "nrlg"

    variance: Variance = "flat"
    reuse: Reuse = "refined"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("variance", self.variance, ("unit", "flat"))
        check_choice("reuse", self.reuse, ("model", "refined"))

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> Proximal:
        """Make the correction of the estimates: a proximal step of the trust r^2 / s_y^2."""
        check_sigma(sigma_y)
        return Proximal(operator, y, likelihood_trust(sigma_y, self.variance), self.reuse)
