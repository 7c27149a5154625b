"""Patches of images: growing, crops, and the eight symmetries of the square."""

import torch
from torch import Tensor

from rebridge.degradations.borders import mirror


def reflect_to(image: Tensor, height: int, width: int) -> Tensor:
    """Grow an image by reflection at the right and bottom edge.

    Unlike with `torch.nn.functional.pad` the result may be many times larger than the image.

    Args:
        image: (..., H, W).
        height: least height of the result.
        width: least width of the result.
    """
    for dim, size in ((-2, height), (-1, width)):
        present = image.shape[dim]
        if present < size:
            image = image.index_select(dim, mirror(present, 0, size - present))
    return image


def random_corner(image: Tensor, size: int, generator: torch.Generator) -> tuple[int, int]:
    """Draw the top and left of a `size` x `size` window, uniformly.

    Args:
        image: (..., H, W), at least that large.
        size: in pixels.
        generator: on the CPU.
    """
    top = int(torch.randint(image.shape[-2] - size + 1, (), generator=generator))
    left = int(torch.randint(image.shape[-1] - size + 1, (), generator=generator))
    return top, left


def crop(image: Tensor, top: int, left: int, size: int) -> Tensor:
    """Cut the `size` x `size` window that begins at row `top` and column `left`."""
    return image[..., top : top + size, left : left + size]


def centre_crop(image: Tensor, size: int) -> Tensor:
    """Cut out the middle: at most size x size, sides multiples of 8 where possible."""
    height, width = (min(side, size) for side in image.shape[-2:])
    height, width = (side - side % 8 if side >= 8 else side for side in (height, width))
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    return image[..., top : top + height, left : left + width]


def dihedral(image: Tensor, symmetry: int) -> Tensor:
    """Apply one of the eight symmetries of the square.

    Args:
        image: (..., N, N).
        symmetry: 0 to 3 for rotations, 4 to 7 for mirrored ones.
    """
    if symmetry >= 4:
        image = image.flip(-1)
    return image.rot90(symmetry % 4, (-2, -1))
