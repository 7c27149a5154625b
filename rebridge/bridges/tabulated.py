"""Functions known by their values at some points, linear between them."""

import torch
from torch import Tensor


def inverse(points: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Find the points at which a tabulated function has the wanted values.

    Args:
        points: (N,), rising, N >= 2.
        values: (N,), the function there; they must not fall.
        wanted: values to find, any shape.

    Returns:
        Points of that shape: beyond the range of the values the first or the last one; where they stay level, a point there.
    """
    right = torch.searchsorted(values.contiguous(), wanted.to(values.dtype).contiguous()).clamp(1, len(points) - 1)
    low, high = values[right - 1], values[right]
    share = ((wanted - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
    return points[right - 1] + share * (points[right] - points[right - 1])
