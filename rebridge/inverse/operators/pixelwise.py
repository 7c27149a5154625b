"""Operators on each pixel alone: the identity, masks, colour lost to grey."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rebridge.degradations.base import Draw
from rebridge.degradations.masks import draw_pixels
from rebridge.inverse.operators.base import Spectral, check_shape

GREY = 0.5
"""What stands in a picture for an unknown pixel; bridges are trained on such holes."""


class Identity(Spectral):
    """Identity, y = x, for denoising."""

    name = "noise"

    def forward(self, x: Tensor) -> Tensor:
        return x

    def singular_values(self, like: Tensor) -> Tensor:
        return torch.ones((), dtype=like.dtype, device=like.device)

    def spectrum(self, x: Tensor) -> Tensor:
        return x

    def image(self, spectrum: Tensor) -> Tensor:
        return spectrum

    def measurement_spectrum(self, y: Tensor) -> Tensor:
        return y


class Mask(Identity):
    """Mask, y = mask * x, for inpainting.

    Unknown pixels are 0 in y, and what y holds there is ignored.

    Args:
        shape: (C, H, W) of the images.
        mask: 1 or True where a pixel is measured; (H, W), (1, H, W) or (C, H, W).
    """

    name = "mask"

    def __init__(self, shape: Sequence[int], mask: Tensor) -> None:
        super().__init__(shape)
        channels, height, width = self.shape
        if tuple(mask.shape) not in {(height, width), (1, height, width), (channels, height, width)}:
            raise ValueError(f"the mask must have shape ({height}, {width}), as the images, got {tuple(mask.shape)}")
        mask = mask.double().reshape(-1, height, width)
        if not ((mask == 0) | (mask == 1)).all():
            raise ValueError("the mask must hold 0 and 1 only, 1 where a pixel is measured")
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return self.singular_values(x) * x

    def singular_values(self, like: Tensor) -> Tensor:
        return self._cast("mask", like)

    @property
    def measured(self) -> int:
        """Number of known values of one image."""
        return int(self.mask.expand(self.shape).sum().item())

    def restrict(self, y: Tensor) -> Tensor:
        """Set the unknown pixels of y to 0."""
        return self.A(y)

    def to_picture(self, y: Tensor) -> Tensor | None:
        """Show measurements with unknown pixels in middle grey."""
        return super().to_picture(y + GREY * (1 - self.singular_values(y)))


class Colour(Spectral):
    """Weighted mean of the channels, (B, 1, H, W), for finding colours.

    Args:
        shape: (C, H, W) of the images.
        weights: one per channel, by default equal ones; (0.299, 0.587, 0.114) is the luma of BT.601.
    """

    name = "colour"
    loses_colour = True

    def __init__(self, shape: Sequence[int], weights: Sequence[float] | None = None) -> None:
        channels, height, width = check_shape(shape)
        super().__init__(shape, (1, height, width))
        row = torch.as_tensor([1 / channels] * channels if weights is None else weights, dtype=torch.float64)
        if row.shape != (channels,) or not torch.isfinite(row).all() or not row.any():
            raise ValueError(f"weights must be {channels} numbers, not all zero, got {row.tolist()}")
        left, size, self.rotation = torch.linalg.svd(row[None], full_matrices=True)
        self.rotation[0] *= left[0, 0]
        self.weights = row[None]
        self.sizes = torch.cat([size, size.new_zeros(channels - 1)]).reshape(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ij,bjhw->bihw", self._cast("weights", x), x)

    def singular_values(self, like: Tensor) -> Tensor:
        return self._cast("sizes", like)

    def spectrum(self, x: Tensor) -> Tensor:
        return torch.einsum("ij,bjhw->bihw", self._cast("rotation", x), x)

    def image(self, spectrum: Tensor) -> Tensor:
        return torch.einsum("ji,bjhw->bihw", self._cast("rotation", spectrum), spectrum)

    def measurement_spectrum(self, y: Tensor) -> Tensor:
        return y.expand(-1, self.shape[0], -1, -1)

    def from_picture(self, pixels: Tensor) -> Tensor:
        """Read the grey image from a picture, the mean of its channels."""
        return pixels.mean(1, keepdim=True)


def identity(shape: Sequence[int]) -> Identity:
    """Measure every pixel as it is, for denoising."""
    return Identity(shape)


def random_mask(shape: Sequence[int], missing: float = 0.5, seed: int = 0) -> Mask:
    """Leave out single pixels, all channels of each.

    Args:
        shape: (C, H, W) of the images.
        missing: share of the pixels, in [0, 1).
        seed: of the choice.
    """
    _, height, width = check_shape(shape)
    if not 0 <= missing < 1:
        raise ValueError(f"missing must lie in [0, 1), got {missing}")
    return Mask(shape, ~draw_pixels(height, width, missing, Draw(seed)))


def box_mask(shape: Sequence[int], side: float = 0.5, top: int | None = None, left: int | None = None) -> Mask:
    """Leave out a box.

    Args:
        shape: (C, H, W) of the images.
        side: height and width of the box as a share of the image's, between 0 and 1.
        top: first row of the box, by default such that it is centred.
        left: first column of the box, by default such that it is centred.
    """
    _, height, width = check_shape(shape)
    if not 0 < side < 1:
        raise ValueError(f"side must lie between 0 and 1, got {side}")
    high, wide = round(side * height), round(side * width)
    top = (height - high) // 2 if top is None else top
    left = (width - wide) // 2 if left is None else left
    if not (0 <= top <= height - high and 0 <= left <= width - wide):
        raise ValueError(f"a box of {high} x {wide} at ({top}, {left}) does not fit into {height} x {width} pixels")
    mask = torch.ones(height, width)
    mask[top : top + high, left : left + wide] = 0
    return Mask(shape, mask)
