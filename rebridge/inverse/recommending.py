"""The method that does best for an operator, as far as measured.

`benchmarks/solvers_photographs.py` prints such figures. The rule names no operator, so that it holds for one's own too:

    one result               the mean of four short walks of diffpir, each from a smooth restoration with noise
    several samples          whole walks of diffpir, each a draw by itself
    only A is known          daps
"""

from __future__ import annotations

from typing import Any

from rebridge.catalogue import Spec
from rebridge.inverse.catalogue import SOLVERS
from rebridge.inverse.methods.base import Method
from rebridge.inverse.operators import Operator


def recommended_text(operator: Operator, sigma_y: float = 0.0, samples: int = 1) -> str:
    """Name the recommended method with its parameters, as "diffpir:zeta=1.0".

    Arguments as of `recommended`.
    """
    if not operator.has_prox:
        return "daps"
    if samples > 1:
        return "diffpir:zeta=1.0,lam=1.0"
    return "diffpir:begin=0.17,steps=20,zeta=1.0,lam=1.0,average=4"


def recommended(operator: Operator, sigma_y: float = 0.0, samples: int = 1, **params: Any) -> Method:
    """Make the recommended method for an operator.

    Args:
        operator: ours, or one of another library after `rebridge.inverse.operators.wrap`.
        sigma_y: standard deviation of the noise.
        samples: number of results that are wanted. Of one, PSNR counts; several are to differ as the posterior does.
        params: of the method, such as steps, that win over the recommended ones.
    """
    spec = Spec.parse(recommended_text(operator, sigma_y, samples))
    return SOLVERS.create(spec.name, **{**spec.params, **params})
