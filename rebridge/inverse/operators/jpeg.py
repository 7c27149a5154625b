"""JPEG as a measurement: quantised coefficients of cosine blocks in YCbCr.

y holds coefficients, rounded to multiples of the quantisation table. Not linear: the data term of the proximal step is the
squared distance, in coefficients, to the cell of images that would be rounded to the same y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rebridge.inverse.operators.base import Operator, Trust, check_shape, check_trust, check_values

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))


class JPEG(Operator):
    """JPEG: quantised coefficients (B, C, H', W') of images in [0, 1].

    They are in 8-bit levels.

    H' and W' are multiples of 8: a size that is none is completed by repeating the last pixel, which the decoder cuts
    off again. `A_adjoint` and `A_dagger` both decode: the slope of rounding is taken as 1.

    Args:
        shape: (C, H, W) of the images, C = 1 or 3.
        quality: 1 to 100, by the scaling and the tables of the standard's annex K, colours at full resolution (4:4:4).
    """

    name = "jpeg"
    linear = False

    def __init__(self, shape: Sequence[int], quality: int = 20) -> None:
        channels, height, width = check_shape(shape)
        if channels not in (1, 3):
            raise ValueError(f"JPEG takes images of 1 or 3 channels, got {channels}")
        if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
            raise ValueError(f"quality must be a whole number in [1, 100], got {quality!r}")
        super().__init__(shape, (channels, math.ceil(height / 8) * 8, math.ceil(width / 8) * 8))
        self.steps = torch.stack([_table(_LUMA, quality)] + [_table(_CHROMA, quality)] * (channels - 1))
        self.colours = torch.tensor(_YCBCR if channels == 3 else ((1.0,),), dtype=torch.float64)
        self.from_colours = torch.linalg.inv(self.colours)
        self.cosines = _cosines()

    def forward(self, x: Tensor) -> Tensor:
        levels = self._levels(x)
        steps = self._steps(levels)
        return (levels / steps).round() * steps

    def adjoint(self, y: Tensor) -> Tensor:
        return self._image(y)

    def gain(self, r: Tensor, gamma: Trust) -> Tensor:
        return self._image(r)

    def to_picture(self, y: Tensor) -> Tensor | None:
        """Show measurements decoded."""
        return self.A_dagger(y).clamp(0, 1)

    def from_picture(self, pixels: Tensor) -> Tensor:
        """Read measurements from a decoded picture, by compressing it again."""
        return self.A(pixels.expand(-1, self.shape[0], -1, -1) if pixels.shape[1] == 1 else pixels)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Trust) -> Tensor:
        """Move z by gamma / (1 + gamma) of its way into the cell of y.

        At gamma = inf the result compresses to y.
        """
        check_values(z, self.shape, "images")
        check_values(y, self.measurement_shape, "measurements")
        check_trust(gamma, len(z))
        trust = torch.as_tensor(gamma, dtype=torch.float64, device=z.device).reshape(-1, 1, 1, 1)
        share = (1 - 1 / (1 + trust)).to(z.dtype)
        levels = self._levels(z)
        # a hair inside the cell, so that rounding errors do not lead out of it
        half = self._steps(levels) * (0.5 - 1e-4)
        inside = torch.minimum(torch.maximum(levels, y - half), y + half)
        return self._image(levels + share * (inside - levels))

    def _levels(self, x: Tensor) -> Tensor:
        """Transform images to coefficients: level shift, colours, blocks."""
        _, high, wide = self.measurement_shape
        padded = torch.nn.functional.pad(x, (0, wide - x.shape[-1], 0, high - x.shape[-2]), mode="replicate")
        planes = torch.einsum("ij,bjhw->bihw", self._cast("colours", x), padded * 255)
        planes = planes - torch.tensor([128.0, 0, 0][: x.shape[1]], dtype=x.dtype, device=x.device).reshape(-1, 1, 1)
        return self._blocks(planes, self._cast("cosines", x))

    def _image(self, levels: Tensor) -> Tensor:
        planes = self._blocks(levels, self._cast("cosines", levels).T)
        shift = torch.tensor([128.0, 0, 0][: levels.shape[1]], dtype=levels.dtype, device=levels.device)
        padded = torch.einsum("ij,bjhw->bihw", self._cast("from_colours", levels), planes + shift.reshape(-1, 1, 1))
        return padded[..., : self.shape[1], : self.shape[2]] / 255

    def _blocks(self, planes: Tensor, basis: Tensor) -> Tensor:
        """Compute basis @ block @ basis^T for every 8 x 8 block."""
        batch, channels, height, width = planes.shape
        blocks = planes.reshape(batch, channels, height // 8, 8, width // 8, 8)
        return torch.einsum("ij,bchjwk,lk->bchiwl", basis, blocks, basis).reshape(planes.shape)

    def _steps(self, like: Tensor) -> Tensor:
        """Repeat the quantisation table under every block, (C, H', W')."""
        return self._cast("steps", like).repeat(1, like.shape[-2] // 8, like.shape[-1] // 8)


def _table(base: Sequence[Sequence[int]], quality: int) -> Tensor:
    """Scale the standard's table to a quality as the reference encoder does."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = torch.tensor(base, dtype=torch.float64)
    return ((table * scale + 50) / 100).floor().clamp(1, 255)


def _cosines() -> Tensor:
    """Write the orthonormal cosine transform of length 8: row k is cos(pi (2 n + 1) k / 16), scaled to norm 1."""
    k, n = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(8, dtype=torch.float64)
    rows = torch.cos(math.pi * (2 * n + 1) * k / 16)
    return rows / rows.norm(dim=1, keepdim=True)
