"""DDS (arXiv 2303.05754): a proximal step of constant trust.

x0~ = argmin_v gamma/2 |A v - y|^2 + 1/2 |v - x0_hat|^2,        eps of the next step: the model's
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rebridge.inverse.methods.base import check_positive, check_share
from rebridge.inverse.methods.guided import GuidedMethod, Proximal
from rebridge.inverse.operators import Measures, Operator


@dataclass(frozen=True, kw_only=True)
class DDS(GuidedMethod):
    """Decomposed diffusion sampling: a proximal step of constant trust gamma.

    arXiv 2303.05754.

    Args:
        steps: of the default time grid, one call each.
        grid: its name, see `rebridge.samplers.times`.
        gamma: weight of the measurement; SCD's settings are 10 and 0.2.
        eta: each step draws eta^2 of the noise's variance anew.
    """

    name: ClassVar[str] = "dds"

    gamma: float = 10.0
    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(gamma=self.gamma)
        check_share(eta=self.eta)

    @property
    def fresh(self) -> float:
        """Share of the noise's variance that each step draws anew."""
        return self.eta**2

    def reproduces_noise(self, operator: Operator) -> bool:
        return self.gamma > 1

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> Proximal:
        """Make the correction of the estimates: a proximal step of constant trust."""
        return Proximal(operator, y, self.gamma)
