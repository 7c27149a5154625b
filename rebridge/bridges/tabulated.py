"""Functions known by their values at some points, linear between them."""

import torch
from torch import Tensor


def inverse(points: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Where a function has the wanted values (any shape), from its values at rising points, both (N,), N >= 2.

    The values must not fall. Beyond their range the answer is the first or the last point; where they stay level, a point there.
    """
    right = torch.searchsorted(values, wanted.to(values.dtype).contiguous()).clamp(1, len(points) - 1)
    low, high = values[right - 1], values[right]
    share = ((wanted - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
    return points[right - 1] + share * (points[right] - points[right - 1])
