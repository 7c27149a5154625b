"""Mirrored borders: what lies beyond the edge of an image is its reflection, for images of any size."""

import torch
from torch import Tensor


def mirror(length: int, before: int, after: int) -> Tensor:
    """Indices that extend a line of `length` pixels on both sides, reflected at (not repeating) the last pixel."""
    period = max(2 * (length - 1), 1)
    folded = torch.arange(-before, length + after).remainder(period)
    return torch.minimum(folded, (period - folded).clamp(max=length - 1))


def extend(image: Tensor, before: int, bottom: int, right: int) -> Tensor:
    """Extend (C, H, W) by mirroring: `before` pixels at the top and left, `bottom` and `right` at the other sides."""
    rows = mirror(image.shape[-2], before, bottom)
    columns = mirror(image.shape[-1], before, right)
    return image[:, rows][:, :, columns]
