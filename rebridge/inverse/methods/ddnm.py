"""DDNM (arXiv 2212.00490): every clean estimate fits y exactly.

x0~ = x0_hat + A^+ (y - A x0_hat),        eps of the next step: the model's, eta^2 of its variance drawn anew
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rebridge.inverse.methods.base import check_share
from rebridge.inverse.methods.guided import GuidedMethod, Proximal
from rebridge.inverse.operators import Measures


@dataclass(frozen=True, kw_only=True)
class DDNM(GuidedMethod):
    """Null-space guidance: every estimate fits y exactly, its noise too.

    arXiv 2212.00490.

    Args:
        steps: of the default time grid, one call each.
        grid: its name, see `rebridge.samplers.times`.
        eta: each step draws eta^2 of the noise's variance anew, 0.85 in the paper; 0 is deterministic.
    """

    name: ClassVar[str] = "ddnm"

    eta: float = 0.85

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(eta=self.eta)

    @property
    def fresh(self) -> float:
        """Share of the noise's variance that each step draws anew."""
        return self.eta**2

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> Proximal:
        """Make the correction of the estimates: a proximal step of infinite trust."""
        return Proximal(operator, y)
