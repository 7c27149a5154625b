"""Mirrored borders: an image of any size continues as its reflection."""

import torch
from torch import Tensor


def mirror(length: int, before: int, after: int) -> Tensor:
    """Compute indices that extend a line of pixels on both sides.

    The line is reflected at its last pixel, which is not repeated.

    Args:
        length: of the line, in pixels.
        before: pixels to add at its beginning.
        after: pixels to add at its end.
    """
    period = max(2 * (length - 1), 1)
    folded = torch.arange(-before, length + after).remainder(period)
    return torch.minimum(folded, (period - folded).clamp(max=length - 1))


def extend(image: Tensor, before: int, bottom: int, right: int) -> Tensor:
    """Extend (C, H, W) by mirroring.

    Args:
        image: (C, H, W).
        before: pixels to add at the top and left.
        bottom: pixels to add at the bottom.
        right: pixels to add at the right.
    """
    rows = mirror(image.shape[-2], before, bottom)
    columns = mirror(image.shape[-1], before, right)
    return image[:, rows][:, :, columns]
