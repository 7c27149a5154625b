"""Compressed sensing: random Walsh-Hadamard coefficients of a shuffled image.

The pixels are shuffled and their signs drawn at random.

A length n that is no power of two is cut into powers of two, the binary digits of n, each with its own transform: the whole
stays orthonormal for every size, so that A A^T = I and all gains have closed forms (derived).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rebridge.inverse.operators.base import Spectral, check_shape


class CompressedSensing(Spectral):
    """Compressed sensing: m of the n = H W coefficients of each channel, (B, C, m).

    Args:
        shape: (C, H, W) of the images.
        ratio: in (0, 1]; m = round(ratio n), at least 1.
        seed: of the shuffle, the signs and the choice of coefficients.
    """

    name = "cs"
    pictured = False

    def __init__(self, shape: Sequence[int], ratio: float = 0.25, seed: int = 0) -> None:
        channels, height, width = check_shape(shape)
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must lie in (0, 1], got {ratio}")
        n = height * width
        generator = torch.Generator().manual_seed(seed)
        self._order = torch.randperm(n, generator=generator)
        self._back = self._order.argsort()
        self.signs = torch.randint(0, 2, (n,), generator=generator).double() * 2 - 1
        self._kept = torch.randperm(n, generator=generator)[: max(1, round(ratio * n))].sort().values
        self.sizes = torch.zeros(n, dtype=torch.float64).index_fill_(0, self._kept, 1.0)
        super().__init__(shape, (channels, len(self._kept)))

    def forward(self, x: Tensor) -> Tensor:
        return self.spectrum(x)[..., self._kept]

    def singular_values(self, like: Tensor) -> Tensor:
        return self._cast("sizes", like)

    def spectrum(self, x: Tensor) -> Tensor:
        shuffled = x.flatten(2)[..., self._order] * self._cast("signs", x)
        return torch.cat([hadamard(part) for part in shuffled.split(_binary(shuffled.shape[-1]), -1)], -1)

    def image(self, spectrum: Tensor) -> Tensor:
        parts = spectrum.split(_binary(spectrum.shape[-1]), -1)
        shuffled = torch.cat([hadamard(part) for part in parts], -1) * self._cast("signs", spectrum)
        return shuffled[..., self._back].reshape(-1, *self.shape)

    def measurement_spectrum(self, y: Tensor) -> Tensor:
        full = y.new_zeros(*y.shape[:-1], len(self.sizes))
        full[..., self._kept] = y
        return full


def hadamard(x: Tensor) -> Tensor:
    """Apply the orthonormal Walsh-Hadamard transform to the last axis.

    It is its own inverse; the length must be a power of two.
    """
    n = x.shape[-1]
    if n & (n - 1) or n == 0:
        raise ValueError(f"the length must be a power of two, got {n}")
    half = 1
    result = x
    while half < n:
        pairs = result.reshape(*x.shape[:-1], n // (2 * half), 2, half)
        first, second = pairs.unbind(-2)
        result = torch.stack([first + second, first - second], -2)
        half *= 2
    return result.reshape(x.shape) / n**0.5


def _binary(n: int) -> list[int]:
    """Split n into powers of two, largest first."""
    return [1 << bit for bit in reversed(range(n.bit_length())) if n >> bit & 1]
