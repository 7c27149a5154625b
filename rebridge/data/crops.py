"""Patches of images: growing, crops, and the eight symmetries of the square."""

import torch
from torch import Tensor


def reflect_to(image: Tensor, height: int, width: int) -> Tensor:
    """Grow an image (..., H, W) to at least `height` x `width` by reflection at the right and bottom edge.

    Unlike `torch.nn.functional.pad` the result may be many times larger than the image.
    """
    for dim, size in ((-2, height), (-1, width)):
        present = image.shape[dim]
        if present < size:
            period = max(2 * (present - 1), 1)
            place = torch.arange(size) % period
            image = image.index_select(dim, torch.minimum(place, (period - place).clamp(min=0)).clamp(max=present - 1))
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


def turn(image: Tensor, symmetry: int) -> Tensor:
    """One of the eight symmetries of the square (0 to 7) of an image (..., N, N): rotations, then mirrored ones."""
    if symmetry >= 4:
        image = image.flip(-1)
    return image.rot90(symmetry % 4, (-2, -1))
