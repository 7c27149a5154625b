"""DiffPIR (arXiv 2305.08995): plug-and-play restoration with falling trust.

gamma = b^2 / (a^2 lam s_y^2),        eps of the next step: refined, the share zeta of its variance drawn anew
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rebridge.inverse.methods.base import check_positive, check_share
from rebridge.inverse.methods.guided import GuidedMethod, Proximal, variance_of
from rebridge.inverse.operators import Measures
from rebridge.inverse.problem import check_sigma


@dataclass(frozen=True, kw_only=True)
class DiffPIR(GuidedMethod):
    """Plug-and-play restoration (arXiv 2305.08995).

    Args:
        steps: of the default time grid, one call each.
        grid: its name, see `rebridge.samplers.times`.
        lam: weight of the prior.
        zeta: share of the noise's variance that each step draws anew.
    """

    name: ClassVar[str] = "diffpir"

    lam: float = 7.0
    zeta: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(lam=self.lam)
        check_share(zeta=self.zeta)

    @property
    def fresh(self) -> float:
        """Share of the noise's variance that each step draws anew."""
        return self.zeta

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> Proximal:
        """Make the correction of the estimates, of trust b^2 / (a^2 lam s_y^2)."""
        check_sigma(sigma_y)
        if sigma_y == 0:
            return Proximal(operator, y, reuse="refined")
        return Proximal(operator, y, lambda at: variance_of(at, "flat") / (self.lam * sigma_y**2), "refined")
