"""The method that does best for an operator, as far as measured.

`rebridge compare --operator ... --solver all --solver baselines` prints such figures. The
rule names no operator, so that it holds for one's own too:

    only A is known                                daps
    not linear                                     diffpir:zeta=0.8
    no noise, or a spectrum (DDNM+)                ddnm
    noise, no spectrum, nothing left out           diffpir:zeta=0.8
    noise, no spectrum, fewer values than pixels   pigdm
"""

from __future__ import annotations

import math
from typing import Any

from rebridge.catalogue import Spec
from rebridge.inverse.catalogue import SOLVERS
from rebridge.inverse.methods.base import Method
from rebridge.inverse.operators import Operator


def recommended_text(operator: Operator, sigma_y: float = 0.0) -> str:
    """Name the recommended method with its parameters, as "diffpir:zeta=0.8"."""
    if not operator.has_prox:
        return "daps"
    if operator.linear and (sigma_y == 0 or operator.has_spectrum):
        return "ddnm"
    complete = operator.measured >= math.prod(operator.shape)
    return "diffpir:zeta=0.8" if complete or not operator.linear else "pigdm"


def recommended(operator: Operator, sigma_y: float = 0.0, **params: Any) -> Method:
    """Make the recommended method for an operator.

    Args:
        operator: ours, or one of another library after `rebridge.inverse.operators.wrap`.
        sigma_y: standard deviation of the noise.
        params: of the method, such as steps, that win over the recommended ones.
    """
    spec = Spec.parse(recommended_text(operator, sigma_y))
    return SOLVERS.create(spec.name, **{**spec.params, **params})
