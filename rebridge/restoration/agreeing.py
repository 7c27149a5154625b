"""A trained bridge for a measurement by a known operator.

The bridge starts in the picture of the measurement, as it was trained to, and each of its estimates is fitted to y by
`rebridge.inverse.DataConsistent`, so that it agrees with what was measured (CDDB, arXiv 2305.19809).
"""

from __future__ import annotations

import math

from torch import Tensor

from rebridge.denoisers import Denoiser
from rebridge.inverse import DataConsistent
from rebridge.inverse.measurement import Measurement
from rebridge.inverse.operators import as_operator
from rebridge.inverse.problem import in_range
from rebridge.models import Model

EXPECTED_ERROR = 0.05
"""Root mean square error of an estimate, for images in [0, 1], that trust in a noisy measurement is weighed against (derived)."""


def picture_of(measured: Measurement) -> Tensor:
    """Show a measurement as images (B, C, H, W) in [0, 1].

    They have the size of what was measured: its own picture where it has one, enlarged where it is small, else A^+ y.
    """
    operator = as_operator(measured.operator, measured.y)
    shown = operator.to_picture(measured.y)
    return operator.A_dagger(measured.y).clamp(0, 1) if shown is None else shown


def agreeing(model: Model, denoiser: Denoiser, measured: Measurement) -> Denoiser:
    """Fit a denoiser's estimates to a measurement, exactly or as its noise allows.

    Raises:
        ValueError: a model of latents, whose estimates cannot be measured.
    """
    if model.space.scale != 1:
        raise ValueError("a measurement needs a model in pixels, and this one works in latents")
    y = measured.y.detach().to(model.device)
    operator, y, sigma = in_range(measured.operator, y, measured.sigma_y, model.process.value_range)
    low, high = model.process.value_range
    trust = math.inf if sigma == 0 else ((high - low) * EXPECTED_ERROR / sigma) ** 2
    return DataConsistent(denoiser, operator, y, trust)
