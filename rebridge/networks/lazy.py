"""Pictures that are read part by part, as they are too large for memory."""

from collections.abc import Callable
from dataclasses import dataclass
from types import EllipsisType
from typing import cast

import torch
from torch import Tensor

Read = Callable[[slice, slice], Tensor]
"""Called as read(rows, columns), both with a start and a stop within the picture; returns (B, C, h, w)."""


@dataclass(frozen=True)
class LazyImages:
    """Images (B, C, H, W) whose parts are read when they are asked for.

    They are cut as a tensor is: images[..., rows, columns].

    Attributes:
        shape: (B, C, H, W).
        read: reads a part.
    """

    shape: tuple[int, int, int, int]
    read: Read

    def cut_alike(self) -> Tensor:
        """Return the images typed as the tensor that they are cut like.

        For what only cuts it: `Model.given` and `Network.seeing`.
        """
        return cast(Tensor, self)

    def __len__(self) -> int:
        """Count the images."""
        return self.shape[0]

    def __getitem__(self, place: tuple[EllipsisType, slice, slice]) -> Tensor:
        """Read the part images[..., rows, columns]."""
        _, rows, columns = place
        height, width = self.shape[-2:]
        return self.read(slice(*rows.indices(height)), slice(*columns.indices(width)))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "LazyImages":
        """Return the same images with every part changed by a function of pixels."""
        return LazyImages(self.shape, lambda rows, columns: change(self.read(rows, columns)))


def mosaic(images: LazyImages | Tensor, windows: int = 4, side: int = 1024) -> Tensor:
    """Put windows from all over images together, for statistics of the whole.

    The windows are taken in full resolution, as noise, rain and the grid of JPEG are lost where pictures are reduced. They lie on
    an even grid, keep their order, and begin at multiples of 16 pixels.

    Args:
        images: (B, C, H, W).
        windows: along each axis.
        side: of a window; a shorter axis is taken whole.

    Returns:
        (B, C, h, w) with h and w of at most windows * side.
    """
    down, across = (_places(length, windows, side) for length in images.shape[-2:])
    return torch.cat([torch.cat([images[..., rows, columns] for columns in across], 3) for rows in down], 2)


def _places(length: int, windows: int, side: int) -> list[slice]:
    if length <= windows * side:
        return [slice(0, length)]
    starts = [index * (length - side) // (windows - 1) // 16 * 16 for index in range(windows)]
    return [slice(start, start + side) for start in starts]
