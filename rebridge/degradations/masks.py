"""Inpainting: parts of the image are missing, as strokes, boxes or pixels."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range, as_range, check_batch, check_number, draw_seeds
from rebridge.degradations.fields import along_and_across, canvas

STROKE_LENGTH = 96
"""Length of a brush stroke in px."""


def draw_pixels(height: int, width: int, fraction: float, draw: Draw) -> Tensor:
    """Draw single pixels, (H, W) bool; their number is the fraction, rounded."""
    return largest(draw.rand(height, width), fraction)


def draw_strokes(height: int, width: int, fraction: float, brush: float, draw: Draw) -> Tensor:
    """Draw curved brush strokes about 2 * brush px wide, (H, W) bool.

    As many strokes are drawn as cover the fraction with the brush asked for; the width then settles it exactly: the pixels
    covered are the fraction, rounded.
    """
    grid = canvas(height, width)
    count = max(1, round(fraction * height * width / (2 * brush * STROKE_LENGTH)))
    turns = 0.12 * torch.cumsum(draw.randn(count, STROKE_LENGTH), 1)
    heading = 2 * math.pi * draw.rand(count, 1) + turns
    start = draw.rand(2, count, 1) * torch.tensor(grid.size)[:, None, None]
    path = start + torch.cumsum(torch.stack([heading.sin(), heading.cos()]), 2)
    rows, columns = (points.long() % size for points, size in zip(path, grid.size, strict=True))
    line = torch.zeros(grid.size).index_put_((rows.flatten(), columns.flatten()), torch.tensor(1.0))
    along, across = along_and_across(grid, torch.zeros(1))
    spread = torch.exp(-(math.pi**2) * brush**2 * (along[0] ** 2 + across[0] ** 2) / 2)
    field = torch.fft.irfft2(torch.fft.rfft2(line) * spread, s=grid.size)
    return largest(field[:height, :width], fraction)


def draw_boxes(height: int, width: int, fraction: float, sides: tuple[float, float], draw: Draw) -> Tensor:
    """Draw boxes with sides between two bounds in px, (H, W) bool.

    Boxes are added until the fraction is reached; the last is cut at the row where that happens.
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    missing = round(fraction * height * width)
    while missing > 0:
        high, wide = (min(round(draw.uniform(sides)), n) for n in (height, width))
        top, left = draw.integer(0, height - high), draw.integer(0, width - wide)
        box = mask[top : top + high, left : left + wide]
        gained = (~box).sum(1).cumsum(0)
        rows = int((gained < missing).sum()) + 1
        missing -= int(gained[min(rows, high) - 1])
        box[:rows] = True
    return mask


def largest(values: Tensor, fraction: float) -> Tensor:
    """Mark the given fraction of the pixels, those with the largest values."""
    flat = values.flatten()
    chosen = flat.topk(round(fraction * len(flat)), sorted=False).indices
    return torch.zeros(len(flat), dtype=torch.bool).index_fill_(0, chosen, True).view_as(values)


@dataclass(frozen=True)
class Inpaint(Degradation):
    """Missing pixels are replaced by a constant.

    y = x where the mask is false, `fill` where it is true.
    """

    any_channels: ClassVar[bool] = True

    kind: str = "strokes"
    """"strokes", "boxes", "pixels", or "mixed": one of the three for each image."""
    fraction: Range = (0.15, 0.4)
    """Share of the pixels that is missing, in [0, 0.95]."""
    fill: float = 0.5
    """Value of missing pixels, in [0, 1]: usually 0.5 (grey) or 0 (black)."""
    brush: Range = (4.0, 9.0)
    """Half the width of the strokes in px, in [1, 100]."""
    side: Range = (16.0, 64.0)
    """Sides of the boxes in px, in [4, 4096]."""

    def __post_init__(self) -> None:
        if self.kind not in ("strokes", "boxes", "pixels", "mixed"):
            raise ValueError(f"kind must be strokes, boxes, pixels or mixed, got {self.kind!r}")
        check_number("fill", self.fill, 0, 1)
        self.limit(fraction=(0, 0.95), brush=(1, 100), side=(4, 4096))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        height, width = image.shape[-2:]
        return image.masked_fill(self.mask(height, width, draw), self.fill)

    def mask(self, height: int, width: int, draw: Draw) -> Tensor:
        """Draw the mask of one image: (H, W), bool, true where pixels are missing."""
        kind = ("strokes", "boxes", "pixels")[draw.integer(0, 2)] if self.kind == "mixed" else self.kind
        fraction = draw.uniform(self.fraction)
        if kind == "strokes":
            return draw_strokes(height, width, fraction, draw.uniform(self.brush), draw)
        if kind == "boxes":
            return draw_boxes(height, width, fraction, as_range("side", self.side), draw)
        return draw_pixels(height, width, fraction, draw)

    def masks(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw the masks that a call on x with such a generator uses.

        Args:
            x: (B, C, H, W) in [0, 1].
            generator: in the state before that call.

        Returns:
            (B, 1, H, W), bool, true where pixels are missing.
        """
        check_batch(x, self.any_channels)
        height, width = x.shape[-2:]
        masks = [self.mask(height, width, Draw(seed)) for seed in draw_seeds(len(x), generator)]
        return torch.stack(masks)[:, None].to(x.device)
