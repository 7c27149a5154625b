"""Maps of a restoration: where it changed the picture, where samples differ."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rebridge.images import Image, as_floats
from rebridge.images.untouched import COMPARED_ROWS
from rebridge.inverse.measurement import LEVELS


@dataclass(frozen=True)
class Map:
    """A grey picture of some size at every pixel, with its figures.

    Attributes:
        picture: black for 0, white for the largest value.
        mean: over all pixels, in 8-bit levels.
        largest: at one pixel, in 8-bit levels.
        share: of the pixels, in [0, 1], that have at least one level.
    """

    picture: Image
    mean: float
    largest: float
    share: float

    @property
    def figures(self) -> dict[str, float]:
        """The figures, rounded."""
        return {"mean": round(self.mean, 3), "largest": round(self.largest, 3), "share": round(self.share, 4)}


def change_map(before: Image, after: Image) -> Map:
    """Map the mean absolute difference of the colours of two pictures of one size."""
    height = before.pixels.shape[1]
    # in strips, as the difference of large pictures would need as much memory as they do
    strips = [slice(top, top + COMPARED_ROWS) for top in range(0, height, COMPARED_ROWS)]
    return _map(
        torch.cat([_sizes(as_floats(after.pixels[:, rows]) - as_floats(before.pixels[:, rows])) for rows in strips], 1)
    )


def value_map(values: Tensor) -> Map:
    """Map the mean size over the colours of values (C, H, W) in units of [0, 1]."""
    return _map(_sizes(values))


def _sizes(values: Tensor) -> Tensor:
    return values.detach().float().cpu().abs().mean(0, keepdim=True)


def _map(sizes: Tensor) -> Map:
    largest = sizes.max().item()
    share = sum((rows >= 1 / LEVELS).sum().item() for rows in sizes.split(COMPARED_ROWS, 1)) / sizes.numel()
    return Map(Image(sizes / max(largest, 1e-12)), LEVELS * sizes.mean().item(), LEVELS * largest, share)
