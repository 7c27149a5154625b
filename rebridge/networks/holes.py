"""Filling of holes: missing pixels, smoothly interpolated from around them.

That is a far better start than the grey painted there: a convolutional network has to learn diffusion over dozens of pixels from
3x3 filters to do the same. Coarse to fine: means of what is known in ever larger cells, then back, where each level repeats the
next coarser one and is smoothed within the holes. Derived.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rebridge.networks.features import may_write_over
from rebridge.networks.layers import at_least_float32, pad_to_multiple, replicate_border

PYRAMID_LEVELS = 6
"""Cells of up to 64 pixels: in holes wider than two of them a middle stays as it is."""
SWEEPS = 6
"""Of smoothing, at each level."""
MIDDLE_GREY = 1.01 / 255
"""How far a missing pixel may lie from 0, the middle grey: 8 bits have none nearer than half of this."""


def holes(y: Tensor) -> Tensor:
    """Find the missing pixels: those that are middle grey in all channels.

    Args:
        y: (B, C, H, W) in [-1, 1].

    Returns:
        (B, 1, H, W), bool.
    """
    return (y.abs() <= MIDDLE_GREY).all(1, keepdim=True)


def fill_holes(y: Tensor, missing: Tensor) -> Tensor:
    """Interpolate the missing pixels of y; the others stay as they are.

    A filled pixel depends on a window of less than 2 * 64 + 6 * 128 pixels to each side, in practice on what surrounds its hole.

    Args:
        y: (B, C, H, W).
        missing: (B, 1, H, W), bool.

    Returns:
        (B, C, H, W), float32 or float64.
    """
    height, width = y.shape[-2:]
    values = pad_to_multiple(at_least_float32(y), 2**PYRAMID_LEVELS)
    weight = 1 - pad_to_multiple(missing.to(values.dtype), 2**PYRAMID_LEVELS)
    pyramid = [(values * weight, weight)]
    for _ in range(PYRAMID_LEVELS):
        pyramid.append((F.avg_pool2d(pyramid[-1][0], 2), F.avg_pool2d(pyramid[-1][1], 2)))
    filled = torch.zeros_like(pyramid[-1][0])
    for total, weight in reversed(pyramid):
        if filled.shape != total.shape:
            filled = F.interpolate(filled, scale_factor=2.0, mode="bilinear")
        known = weight > 0
        means = total / weight.clamp_min(1e-6)
        filled = _smoothed(torch.where(known, means, filled), known)
    return torch.where(missing, filled[..., :height, :width], at_least_float32(y))


def _smoothed(filled: Tensor, known: Tensor) -> Tensor:
    """Smooth pixels (B, C, H, W) that are not known, (B, 1, H, W); on a processor, write over them and look at no others."""
    if filled.device.type != "cpu" or not may_write_over():
        return _swept(filled, known)
    rows, columns = (_span((~known).any(axes)) for axes in ((0, 1, 3), (0, 1, 2)))
    filled[..., rows, columns] = _swept(filled[..., rows, columns], known[..., rows, columns])
    return filled


def _span(there: Tensor) -> slice:
    """From the first to the last place of an axis that is there, with its neighbours."""
    places = there.nonzero()[:, 0].tolist()
    return slice(max(places[0] - 1, 0), places[-1] + 2) if places else slice(0, 1)


def _swept(filled: Tensor, known: Tensor) -> Tensor:
    for _ in range(SWEEPS):
        filled = torch.where(known, filled, _neighbours(filled))
    return filled


def _neighbours(h: Tensor) -> Tensor:
    """The mean of the four neighbours of each pixel."""
    wide = replicate_border(h, 1)
    return (wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1] + wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]) / 4
