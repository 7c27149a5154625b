"""Maps of a restoration: where it changed the picture, where samples differ."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rebridge.images import Image
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
    return value_map(after.pixels - before.pixels)


def value_map(values: Tensor) -> Map:
    """Map the mean size over the colours of values (C, H, W) in units of [0, 1]."""
    sizes = values.detach().float().cpu().abs().mean(0, keepdim=True)
    largest = sizes.max().item()
    share = (sizes >= 1 / LEVELS).float().mean().item()
    return Map(Image(sizes / max(largest, 1e-12)), LEVELS * sizes.mean().item(), LEVELS * largest, share)
