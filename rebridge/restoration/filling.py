"""Fill marked places of a picture, and leave the rest as it is, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rebridge.images import Image
from rebridge.networks.holes import fill_holes

INPAINT = "inpaint"
"""The task of models that draw what is missing."""
HOLE = 127.5 / 255
"""Value in all channels by which such models know a missing pixel."""


def marked(mask: Image) -> Tensor:
    """Turn a picture of a mask into truth values (H, W).

    True where it is white, and not transparent.

    Raises:
        ValueError: nothing is marked.
    """
    light = mask.pixels.mean(0) if mask.alpha is None else mask.pixels.mean(0) * mask.alpha[0]
    found = light >= 0.5
    if not found.any():
        raise ValueError("the mask marks nothing: paint white what is to be filled")
    return found


def fill_image(image: Image, missing: Tensor, draw: Callable[[Image], Any] | None = None) -> Image:
    """Fill what is missing in a picture.

    Args:
        image: the picture.
        missing: (H, W), bool.
        draw: a restorer of a model that knows the task "inpaint"; by default the places are filled smoothly from around.

    Returns:
        The picture; pixels that are not missing are the same.

    Raises:
        ValueError: a mask of another size.
    """
    if missing.shape != image.pixels.shape[1:]:
        height, width = missing.shape
        raise ValueError(
            f"the mask has {width} x {height} pixels, and the picture {image.size[0]} x {image.size[1]}; they must be the same"
        )
    if draw is None:
        whole = fill_holes(2 * image.pixels[None] - 1, missing[None, None])[0]
        filled = ((whole + 1) / 2).clamp(0, 1)
    else:
        holed = torch.where(missing, torch.tensor(HOLE), image.pixels)
        filled = draw(image.with_pixels(holed)).pixels
    return image.with_pixels(torch.where(missing, filled, image.pixels))
