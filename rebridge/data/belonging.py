"""Pairs whose images show different scenes, found by their correlation.

Both images are made grey and small, freed of their coarse brightness, and correlated at every small shift: degradations hide
detail and change brightness, but they leave some structure where it was. Two unrelated scenes have none in common.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from rebridge.data.folders import as_float
from rebridge.data.pairs import PairedSource

SMALL_SIDE = 64
"""Pixels along the longer side of the small images."""
FARTHEST = 8
"""Greatest shift in their pixels, an eighth of the image."""
UNRELATED = 0.35
"""Correlation below which two images are taken for different scenes.

Between different photographs of CBSD68 it is 0.26 at most (392 pairs), and 0.52 at least between a photograph and its
degradations by `rebridge.degradations`.
"""
LOOKED_AT = 64
"""Pairs of a folder that are read for this alone; those that are in memory are all looked at."""


def likeness(clean: Tensor, degraded: Tensor) -> float:
    """Compute the correlation of two images at the best shift, in [-1, 1].

    Args:
        clean, degraded: (C, H, W), of one size.

    Returns:
        1 for images without structure, which belong to anything.
    """
    a, b = (_structure(image) for image in (clean, degraded))
    if min(a.abs().max(), b.abs().max()) < 1e-4:
        return 1.0
    # cut off at the border, so that no shift leaves what both images show
    margin = min(FARTHEST, min(a.shape[-2:]) // 4)
    inner = a[..., margin : a.shape[-2] - margin, margin : a.shape[-1] - margin]
    products = functional.conv2d(b, inner)
    ones = torch.ones_like(inner)
    sums, squares = functional.conv2d(b, ones), functional.conv2d(b.square(), ones)
    count = inner.numel()
    spread = (squares - sums.square() / count).clamp(min=1e-12) * (inner - inner.mean()).square().sum()
    correlations = (products - sums * inner.mean()) / spread.sqrt().clamp(min=1e-12)
    return float(correlations.abs().max())


def looked_at(source: PairedSource) -> list[int]:
    """Choose the pairs to compare.

    Those are all that are in memory, and some evenly spaced others.
    """
    held = set(source.clean.held) & set(source.degraded.held)
    return sorted({*held, *range(0, len(source), -(-len(source) // LOOKED_AT))})


def unrelated(source: PairedSource) -> list[tuple[Path, Path, float]]:
    """Find pairs that do not belong together, the least alike first.

    Returns:
        Paths of clean and degraded image, and their correlation.
    """
    alike = {index: likeness(*source.pair(index)) for index in looked_at(source)}
    found = [(*source.folder[index], value) for index, value in alike.items() if value < UNRELATED]
    return sorted(found, key=lambda pair: pair[2])


def _structure(image: Tensor) -> Tensor:
    """A small grey image (1, 1, h, w) without its coarse brightness, of about equal contrast everywhere."""
    grey = as_float(image).mean(0, keepdim=True)[None]
    height, width = grey.shape[-2:]
    scale = max(1.0, max(height, width) / SMALL_SIDE)
    small = functional.interpolate(
        grey, size=(max(1, round(height / scale)), max(1, round(width / scale))), mode="area"
    )
    local = small - _blurred(small)
    return local / (_blurred(local.square()).sqrt() + 1e-3)


def _blurred(image: Tensor) -> Tensor:
    side = min(9, 2 * ((min(image.shape[-2:]) - 1) // 2) + 1)
    return functional.avg_pool2d(functional.pad(image, [side // 2] * 4, mode="replicate"), side, stride=1)
