"""Data-consistent bridges: estimates of a trained bridge fitted to a measurement.

    x0 = argmin_v gamma/2 |A v - y|^2 + 1/2 |v - x0_hat|^2,    or x0_hat + A^+ (y - A x0_hat) for gamma infinite

around the denoiser of a bridge that was trained to restore, sampled as ever (CDDB, arXiv 2305.19809; there a gradient step of the
first term). Where the operator is known, a few steps then end in images that agree with what was measured.
"""

from __future__ import annotations

import math

from torch import Tensor

from rebridge.denoisers import Denoiser, as_estimate
from rebridge.inverse.operators import Measures, Operator, as_operator


class DataConsistent:
    """A denoiser whose estimates fit a measurement.

    Args:
        denoiser: of any process, such as `model.given(images)` of a trained bridge.
        operator: A, for images in the range of the process; ours, or one of another library. See `inverse.problem.in_range`.
        measurement: y (B, ...).
        gamma: trust in the measurement over the estimate, r^2/s^2 for an estimate that is r off and noise s; infinite by default.

    Raises:
        ValueError: gamma is not positive, or the measurement does not fit the operator.
    """

    def __init__(self, denoiser: Denoiser, operator: Measures, measurement: Tensor, gamma: float = math.inf) -> None:
        if not gamma > 0:
            raise ValueError(f"gamma must be positive, got {gamma}")
        self.denoiser = denoiser
        self.operator: Operator = as_operator(operator, measurement)
        self.measurement = measurement
        self.gamma = gamma

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Estimate x0 for x_t, y (B, C, H, W) and t (B,)."""
        x0 = as_estimate(self.denoiser(x_t, t, y)).x0
        if math.isinf(self.gamma):
            return x0 + self.operator.A_dagger(self.measurement - self.operator.A(x0))
        return self.operator.prox_l2(x0, self.measurement, self.gamma)
