"""Operators on rows and columns, y = R x C^T, decomposed by their factors.

If R = U_r S_r V_r^T and C = U_c S_c V_c^T, the singular values of the whole are all products S_r S_c, and the bases
are applied from both sides: two small decompositions serve images of any content. Downsampling and separable blur.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rebridge.degradations.borders import mirror
from rebridge.degradations.optics import gaussian_kernel
from rebridge.degradations.resampling import shrink
from rebridge.inverse.operators.base import Operator, Spectral, check_shape


class Separable(Spectral):
    """Rows and columns one after the other, y = R x C^T in each channel.

    Args:
        shape: (C, H, W) of the images.
        rows: R, (h, H).
        columns: C, (w, W).
        cutoff: see `Spectral`.
        scale: how many times smaller than the image y is, for showing it as a picture.
    """

    name = "separable"

    def __init__(
        self, shape: Sequence[int], rows: Tensor, columns: Tensor, cutoff: float = 1e-6, scale: int = 1
    ) -> None:
        channels, height, width = check_shape(shape)
        if rows.shape[1:] != (height,) or columns.shape[1:] != (width,):
            raise ValueError(
                f"rows and columns must have {height} and {width} columns, got {tuple(rows.shape)}, {tuple(columns.shape)}"
            )
        super().__init__(shape, (channels, len(rows), len(columns)), cutoff)
        self.scale = scale
        self.rows, self.columns = rows.double(), columns.double()
        self.left_rows, sizes_rows, self.right_rows = _decompose(self.rows)
        self.left_columns, sizes_columns, self.right_columns = _decompose(self.columns)
        self.sizes = sizes_rows[:, None] * sizes_columns

    def forward(self, x: Tensor) -> Tensor:
        return self._cast("rows", x) @ x @ self._cast("columns", x).mT

    def singular_values(self, like: Tensor) -> Tensor:
        return self._cast("sizes", like)

    def spectrum(self, x: Tensor) -> Tensor:
        return self._cast("right_rows", x) @ x @ self._cast("right_columns", x).mT

    def image(self, spectrum: Tensor) -> Tensor:
        return self._cast("right_rows", spectrum).mT @ spectrum @ self._cast("right_columns", spectrum)

    def measurement_spectrum(self, y: Tensor) -> Tensor:
        return self._cast("left_rows", y).mT @ y @ self._cast("left_columns", y)

    def after(self, inner: Operator) -> Operator | None:
        """Give self @ inner as one separable operator if `inner` is separable too."""
        if not isinstance(inner, Separable) or inner.measurement_shape != self.shape:
            return None
        rows, columns = self.rows @ inner.rows, self.columns @ inner.columns
        return Separable(inner.shape, rows, columns, max(self.cutoff, inner.cutoff), self.scale * inner.scale)


def _decompose(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Decompose a matrix (h, n) into U (h, n), S (n,), V^T (n, n), padded with zeros or cut to n values."""
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=True)
    n, rank = matrix.shape[1], len(sizes)
    sizes = torch.cat([sizes, sizes.new_zeros(n - rank)])
    left = torch.cat([left[:, :rank], left.new_zeros(len(left), n - rank)], 1)
    return left, sizes, right


def bicubic(shape: Sequence[int], scale: int) -> Separable:
    """Downsample by antialiased bicubic interpolation, (C, ceil(H/s), ceil(W/s)).

    `rebridge.degradations` does the same.

    Args:
        shape: (C, H, W) of the images.
        scale: s, a whole number in [1, 64].
    """
    _, height, width = check_shape(shape)
    _check_scale(scale)
    return Separable(shape, _shrinking(height, scale), _shrinking(width, scale), scale=scale)


def average(shape: Sequence[int], scale: int) -> Separable:
    """Average blocks of pixels.

    A size that is no multiple is first completed by mirroring.

    Args:
        shape: (C, H, W) of the images.
        scale: side of the blocks, a whole number in [1, 64].
    """
    _, height, width = check_shape(shape)
    _check_scale(scale)
    return Separable(shape, _block_means(height, scale), _block_means(width, scale), scale=scale)


def separable_blur(
    shape: Sequence[int],
    kernel: Tensor | None = None,
    sigma: float = 2.0,
    boundary: str = "reflect",
    cutoff: float = 1e-6,
) -> Separable:
    """Blur with one kernel along rows and columns.

    Args:
        shape: (C, H, W) of the images.
        kernel: (K,), K odd; by default a Gaussian.
        sigma: standard deviation of the Gaussian in pixels.
        boundary: "reflect" (mirrored at the last pixel) or "periodic".
        cutoff: see `Spectral`.
    """
    _, height, width = check_shape(shape)
    if kernel is None:
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        kernel = gaussian_kernel(sigma).sum(0)
    if kernel.ndim != 1 or len(kernel) % 2 == 0:
        raise ValueError(
            f"the kernel of a separable blur must have an odd number of taps, got shape {tuple(kernel.shape)}"
        )
    return Separable(shape, _convolution(height, kernel, boundary), _convolution(width, kernel, boundary), cutoff)


def _shrinking(length: int, scale: int) -> Tensor:
    """Write `shrink` along one axis as a matrix: it is applied to the unit vectors, constant along the other axis."""
    # two columns remain, because torch 2.13 returns equal rows where only one does
    units = torch.eye(length, dtype=torch.float64)[:, :, None].expand(-1, -1, 2 * scale)
    return shrink(units, scale)[:, :, 0].T.contiguous()


def _block_means(length: int, scale: int) -> Tensor:
    blocks = math.ceil(length / scale)
    matrix = torch.zeros(blocks, length, dtype=torch.float64)
    sources = mirror(length, 0, blocks * scale - length)
    targets = torch.arange(len(sources)) // scale
    return matrix.index_put_((targets, sources), torch.tensor(1 / scale, dtype=torch.float64), accumulate=True)


def _convolution(length: int, kernel: Tensor, boundary: str) -> Tensor:
    check_boundary(boundary)
    reach = len(kernel) // 2
    matrix = torch.zeros(length, length, dtype=torch.float64)
    targets = torch.arange(length)[:, None].expand(-1, len(kernel))
    offsets = torch.arange(len(kernel))
    beyond = mirror(length, reach, reach) if boundary == "reflect" else torch.arange(-reach, length + reach) % length
    sources = beyond[targets + offsets]
    # convolution, not correlation: the kernel is flipped
    return matrix.index_put_((targets, sources), kernel.double().flip(0).expand(length, -1), accumulate=True)


def check_boundary(boundary: str) -> None:
    """Raise ValueError unless the boundary is one that blurs know."""
    if boundary not in ("reflect", "periodic"):
        raise ValueError(f"boundary must be reflect or periodic, got {boundary!r}")


def _check_scale(scale: int) -> None:
    if isinstance(scale, bool) or not isinstance(scale, int) or not 1 <= scale <= 64:
        raise ValueError(f"scale must be a whole number in [1, 64], got {scale!r}")
