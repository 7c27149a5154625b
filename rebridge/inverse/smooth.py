"""Restoration without a model, by the prior of a spectrum 1/f^2.

    argmin_v |A v - y|^2 / s^2 + |D v|^2 / g^2 = (A^T A / s^2 + D^T D / g^2)^-1 A^T y / s^2,

D the differences of neighbouring pixels and g their standard deviation in photographs. By conjugate gradients, so that it takes
any linear operator. Walks may begin with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rebridge.inverse.operators import Operator

PHOTO_SLOPE = 0.07
"""Standard deviation of the differences of neighbouring pixels in photographs, of values in [0, 1]."""
LEAST_NOISE = 1 / 255
"""Least standard deviation of the noise that is reckoned with, of values in [0, 1]."""


def smooth_image(
    operator: Operator,
    y: Tensor,
    sigma_y: float,
    value_range: tuple[float, float] = (0.0, 1.0),
    iterations: int = 60,
) -> Tensor:
    """Restore with the prior of a spectrum 1/f^2, a Wiener filter.

    Args:
        operator: A; of one that is not linear A^+ y is taken instead, and grey where only A is known.
        y: measurements (B, ...).
        sigma_y: standard deviation of their noise.
        value_range: (low, high) of the images.
        iterations: of the conjugate gradients.

    Returns:
        Images (B, C, H, W), not clipped.
    """
    low, high = value_range
    if not operator.linear:
        return operator.A_dagger(y) if operator.has_prox else y.new_full((len(y), *operator.shape), (low + high) / 2)
    weight = (max(sigma_y / (high - low), LEAST_NOISE) / PHOTO_SLOPE) ** 2
    pulled = operator.A_adjoint(y)

    def normal(v: Tensor) -> Tensor:
        return operator.A_adjoint(operator.A(v)) + weight * _laplacian(v)

    x = torch.full_like(pulled, (low + high) / 2)
    rest = pulled - normal(x)
    direction, size = rest, _dot(rest)
    for _ in range(iterations):
        image = normal(direction)
        step = size / _sum(direction * image).clamp(min=1e-30)
        x, rest = x + step * direction, rest - step * image
        following = _dot(rest)
        direction, size = rest + (following / size.clamp(min=1e-30)) * direction, following
    return x


def _laplacian(x: Tensor) -> Tensor:
    """D^T D x of the differences of neighbours, without any at the border."""
    across, down = x.diff(dim=-1), x.diff(dim=-2)
    pad = torch.nn.functional.pad
    return pad(across, (1, 0)) - pad(across, (0, 1)) + pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1))


def _dot(x: Tensor) -> Tensor:
    return _sum(x.square())


def _sum(x: Tensor) -> Tensor:
    """The sum over each image, (B, 1, 1, 1)."""
    return x.flatten(1).sum(1).reshape(-1, 1, 1, 1)
