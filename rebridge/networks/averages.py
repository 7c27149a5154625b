"""Means over blocks and surroundings, as torch's pooling has them.

They are computed by sums along rows, which a processor does faster.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rebridge.networks.exporting import exporting


def block_means(image: Tensor, side: int) -> Tensor:
    """Average blocks of side x side pixels.

    (B, C, H, W) to (B, C, H // side, W // side).
    """
    if exporting() or image.is_meta:
        return F.avg_pool2d(image, side)
    rows, columns = (length // side for length in image.shape[-2:])
    whole = image[..., : rows * side, : columns * side]
    if side == 2:  # a sum along rows of two places each takes longer
        pairs = whole[..., ::2, :] + whole[..., 1::2, :]
        return (pairs[..., ::2] + pairs[..., 1::2]) / 4
    return whole.unflatten(-2, (rows, side)).mean(-2).unflatten(-1, (columns, side)).mean(-1)


def surrounding_means(image: Tensor) -> Tensor:
    """Average each pixel and its neighbours, up to eight, of (B, C, H, W)."""
    if exporting() or image.is_meta:
        return F.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
    total = image
    for axis in (-2, -1):
        length = image.shape[axis]
        before, after = total.narrow(axis, 0, length - 1), total.narrow(axis, 1, length - 1)
        total = total.clone()
        total.narrow(axis, 1, length - 1).add_(before)
        total.narrow(axis, 0, length - 1).add_(after)
    return total / _neighbours(image)


def _neighbours(image: Tensor) -> Tensor:
    """How many pixels a mean is taken over, (H, W)."""
    counts = []
    for length in image.shape[-2:]:
        count = torch.full((length,), 3.0, dtype=image.dtype, device=image.device)
        count[:1] -= 1
        count[-1:] -= 1
        counts.append(count)
    return counts[0][:, None] * counts[1]
