"""Enlarge images so that, shrunk again, they are the images they were made of.

Bicubic enlarging blurs: shrinking its result does not give the image back. Iterative back-projection (Irani and Peleg 1991)
adds what is missing, x <- x + U (y - D x), with U and D bicubic with a = -0.5, D widened against aliasing. Two rounds gain most
where y was made by D, and lose nothing where it was made by averaging or bilinear shrinking.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn.functional import interpolate

from rebridge.images import Image, fill_hidden

BACK_PROJECTIONS = 2


def resample(images: Tensor, height: int, width: int) -> Tensor:
    """Resize images (B, C, H, W); the result is not clamped.

    Keys' cubic kernel with a = -0.5, widened where they shrink.
    """
    return interpolate(images, size=(height, width), mode="bicubic", antialias=True, align_corners=False)


def consistent(large: Tensor, small: Tensor, rounds: int = BACK_PROJECTIONS) -> Tensor:
    """Change large images (B, C, H, W) towards those which shrink to `small`.

    Args:
        large: a first guess, such as `resample` or a model makes.
        small: (B, C, h, w) in [0, 1].
        rounds: of back-projection.

    Returns:
        (B, C, H, W) in [0, 1].
    """
    for _ in range(rounds):
        missing = small - resample(large, *small.shape[-2:])
        large = large + resample(missing, *large.shape[-2:])
    return large.clamp(0, 1)


def enlarge_image(image: Image, by: int, improve: Callable[[Image], Any] | None = None) -> Image:
    """Enlarge a picture `by` times along each side.

    Args:
        image: the picture; its metadata, depth and transparency are kept.
        by: a whole number of at least 1.
        improve: restores what was enlarged, such as a `Restorer`; by default nothing does.

    Raises:
        ValueError: `by` is less than 1.
    """
    if by < 1:
        raise ValueError(f"by must be at least 1, got {by}")
    small = fill_hidden(image.pixels, image.alpha)[None]
    size = (by * small.shape[-2], by * small.shape[-1])
    alpha = None if image.alpha is None else consistent(resample(image.alpha[None], *size), image.alpha[None])[0]
    large = resample(small, *size)
    if improve is not None:
        guess = replace(image, pixels=large[0].clamp(0, 1), alpha=None)
        large = improve(guess).pixels[None]
    return replace(image, pixels=consistent(large, small)[0], alpha=alpha)
