"""DiffPIR (arXiv 2305.08995): plug-and-play restoration with falling trust.

    gamma = b^2 / (a^2 lam s_y^2),        eps of the next step: refined, the share zeta of its variance drawn anew

The authors' code takes s_y for images in [0, 1] and b/a for images in [-1, 1], so that its lambda is 4 lam: the 7 of their
experiments is the 1.75 here. Further of their settings: grid "quad"; `last="state"`; `floor=0.002`, their 0.001 in [0, 1];
zeta 0.1 to 0.3 for deblurring and super-resolution, 1 and 20 steps for inpainting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from rebridge.inverse.methods.base import check_choice, check_positive, check_share
from rebridge.inverse.methods.guided import GuidedMethod, Proximal, variance_of
from rebridge.inverse.operators import Measures
from rebridge.inverse.problem import Problem, check_sigma
from rebridge.samplers.base import Callback, Noise


@dataclass(frozen=True, kw_only=True)
class DiffPIR(GuidedMethod):
    """Plug-and-play restoration (arXiv 2305.08995).

    Args:
        steps: of the default time grid, one call each.
        grid: its name, see `rebridge.samplers.times`; the authors' is "quad".
        lam: weight of the prior, a quarter of the authors' lambda.
        zeta: share of the noise's variance that each step draws anew.
        last: the result, "clean" for the last corrected estimate, "state" for the last state before it, as the authors' code
            returns.
        floor: least standard deviation of the noise that is reckoned with, in the range of the model.
    """

    name: ClassVar[str] = "diffpir"

    lam: float = 1.75
    zeta: float = 0.3
    last: Literal["clean", "state"] = "clean"
    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(lam=self.lam)
        check_share(zeta=self.zeta)
        check_choice("last", self.last, ("clean", "state"))
        check_sigma(self.floor)

    @property
    def fresh(self) -> float:
        """Share of the noise's variance that each step draws anew."""
        return self.zeta

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> Proximal:
        """Make the correction of the estimates, of trust b^2 / (a^2 lam s_y^2)."""
        check_sigma(sigma_y)
        sigma = max(sigma_y, self.floor)
        if sigma == 0:
            return Proximal(operator, y, reuse="refined")
        return Proximal(operator, y, lambda at: variance_of(at, "flat") / (self.lam * sigma**2), "refined")

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        state = problem.blank()

        def look(step: int, t: float, x_t: Tensor, x0: Tensor) -> None:
            nonlocal state
            state = x_t
            if callback is not None:
                callback(step, t, x_t, x0)

        found = super().solve(problem, times, noise, x, look)
        return found if self.last == "clean" else state
