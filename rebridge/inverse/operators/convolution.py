"""Blur with any kernel, periodic or mirrored at the border.

A periodic blur is diagonal in the Fourier domain; a mirrored one is inverted by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rebridge.degradations.base import Draw
from rebridge.degradations.borders import mirror
from rebridge.degradations.optics import convolve, disc_kernel, trajectory_kernel
from rebridge.inverse.operators.base import Linear, Operator, Spectral
from rebridge.inverse.operators.separable import check_boundary, separable_blur


class PeriodicBlur(Spectral):
    """Blur, y = kernel * x, with the image repeated beyond its border.

    Args:
        shape: (C, H, W) of the images.
        kernel: (K, L), both odd, centred.
        cutoff: see `Spectral`.
    """

    name = "periodic-blur"

    def __init__(self, shape: Sequence[int], kernel: Tensor, cutoff: float = 1e-6) -> None:
        super().__init__(shape, cutoff=cutoff)
        check_kernel(kernel)
        self.transfer = _transfer(kernel, *self.shape[1:])
        self.sizes = self.transfer.abs()
        phases = torch.where(self.sizes > 0, self.transfer / self.sizes.clamp(min=1e-300), 1.0)
        self.conjugate_phases = phases.conj()

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.ifft2(self._cast("transfer", x) * torch.fft.fft2(x)).real

    def singular_values(self, like: Tensor) -> Tensor:
        return self._cast("sizes", like)

    def spectrum(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x, norm="ortho")

    def image(self, spectrum: Tensor) -> Tensor:
        return torch.fft.ifft2(spectrum, norm="ortho").real

    def measurement_spectrum(self, y: Tensor) -> Tensor:
        return self._cast("conjugate_phases", y) * torch.fft.fft2(y, norm="ortho")


class ReflectBlur(Linear):
    """Blur, y = kernel * x, with the image mirrored at its border.

    `rebridge.degradations` does the same.

    Not diagonal in any fast basis for a kernel that is not symmetric. The periodic blur of the same kernel, which differs at
    the border only, preconditions the proximal step.

    Args:
        shape: (C, H, W) of the images.
        kernel: (K, K), K odd, centred.
    """

    name = "blur"
    amplifies = True

    def __init__(self, shape: Sequence[int], kernel: Tensor) -> None:
        super().__init__(shape)
        check_kernel(kernel)
        if kernel.shape[0] != kernel.shape[1]:
            raise ValueError(f"the kernel must be square, got {tuple(kernel.shape)}")
        self.kernel = kernel.double()
        self.flipped = self.kernel.flip(0, 1)
        self.power = _transfer(kernel, *self.shape[1:]).abs().square()
        reach = kernel.shape[0] // 2
        self._rows, self._columns = (mirror(n, reach, reach) for n in self.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x.flatten(0, 1), self._cast("kernel", x)).view_as(x)

    def adjoint(self, y: Tensor) -> Tensor:
        reach = len(self.kernel) // 2
        framed = torch.nn.functional.pad(y.flatten(0, 1), [2 * reach] * 4)
        # inside a frame of zeros the mirrored convolution is the plain one
        height, width = (n + 2 * reach for n in self.shape[1:])
        spread = convolve(framed, self._cast("flipped", y))[:, reach : reach + height, reach : reach + width]
        folded = y.new_zeros(len(spread), self.shape[1], spread.shape[2]).index_add_(1, self._rows.to(y.device), spread)
        folded = y.new_zeros(len(spread), *self.shape[1:]).index_add_(2, self._columns.to(y.device), folded)
        return folded.view_as(y)

    def precondition(self, v: Tensor, damping: Tensor) -> Tensor:
        return torch.fft.ifft2(torch.fft.fft2(v) / (self._cast("power", v) + damping)).real


def blur(
    shape: Sequence[int],
    kind: str = "motion",
    length: float = 15.0,
    wander: float = 0.8,
    radius: float = 3.0,
    sigma: float = 2.0,
    boundary: str = "reflect",
    seed: int = 0,
    kernel: Tensor | None = None,
    cutoff: float = 1e-6,
) -> Operator:
    """Blur with a kernel, or by a camera shake, a defocus disc or a Gaussian.

    Args:
        shape: (C, H, W) of the images.
        kind: "motion", "disc" or "gaussian".
        length: of the path of a motion in pixels, as in `rebridge.degradations`.
        wander: of the path of a motion, as in `rebridge.degradations`.
        radius: of a disc in pixels.
        sigma: standard deviation of a Gaussian in pixels.
        boundary: "reflect" or "periodic".
        seed: of the path of a motion.
        kernel: (K, K), to be used instead.
        cutoff: see `Spectral`; a mirrored blur has none, unless it is Gaussian.
    """
    check_boundary(boundary)
    if kernel is None and kind == "gaussian":
        return separable_blur(shape, sigma=sigma, boundary=boundary, cutoff=cutoff)
    if kernel is None:
        if kind not in ("motion", "disc"):
            raise ValueError(f"kind must be motion, disc or gaussian, got {kind!r}")
        if not (0 <= length <= 200 and 0 <= radius <= 50):
            raise ValueError(f"length must lie in [0, 200] and radius in [0, 50], got {length} and {radius}")
        kernel = trajectory_kernel(length, wander, Draw(seed)) if kind == "motion" else disc_kernel(radius)
    return PeriodicBlur(shape, kernel, cutoff) if boundary == "periodic" else ReflectBlur(shape, kernel)


def check_kernel(kernel: Tensor) -> None:
    """Raise ValueError unless the kernel is finite, two-dimensional and odd."""
    if kernel.ndim != 2 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        raise ValueError(f"the kernel must have shape (K, L), both odd, got {tuple(kernel.shape)}")
    if not torch.isfinite(kernel).all() or not kernel.any():
        raise ValueError("the kernel must be finite and not all zero")


def _transfer(kernel: Tensor, height: int, width: int) -> Tensor:
    """Transform a kernel centred at pixel (0, 0) to (height, width) frequencies; a larger one is wrapped."""
    high, wide = kernel.shape
    rows = (torch.arange(high) - high // 2) % height
    columns = (torch.arange(wide) - wide // 2) % width
    wrapped = torch.zeros(height, width, dtype=torch.float64)
    wrapped.index_put_((rows[:, None].expand(high, wide), columns.expand(high, wide)), kernel.double(), accumulate=True)
    return torch.fft.fft2(wrapped)
