"""Parallel-beam tomography: Radon transform, adjoint, filtered back-projection.

A detector bin holds the integral of the image over a strip one pixel wide, exactly for an image of square pixels: a pixel's
shadow at angle theta is a trapezoid, the convolution of two boxes |cos theta| and |sin theta| wide, which covers three bins at
most. So each projection sums to the image's sum, and the adjoint is the transposed table.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from rebridge.degradations.fields import fast_size
from rebridge.inverse.operators.base import Linear, check_shape


class Radon(Linear):
    """Parallel-beam projections of each channel, (B, C, n, D).

    D = ceil(hypot(H, W)) + 1 bins are one pixel wide.

    Args:
        shape: (C, H, W) of the images.
        angles: number n of the angles k pi / n.
        tolerance: of the conjugate gradients behind `A_dagger` and `prox_l2`, in (0, 1).
        iterations: greatest number of theirs.
    """

    name = "radon"
    pictured = False

    def __init__(self, shape: Sequence[int], angles: int = 60, tolerance: float = 1e-7, iterations: int = 1000) -> None:
        channels, height, width = check_shape(shape)
        if isinstance(angles, bool) or not isinstance(angles, int) or angles < 1:
            raise ValueError(f"angles must be a whole number from 1 up, got {angles!r}")
        if not (0 < tolerance < 1 and iterations >= 1):
            raise ValueError(
                f"tolerance must lie in (0, 1) and iterations be at least 1, got {tolerance}, {iterations}"
            )
        self.angles, self.tolerance, self.iterations = angles, tolerance, iterations
        self.bins = math.ceil(math.hypot(height, width)) + 1
        super().__init__(shape, (channels, angles, self.bins))
        self.back, self.project = _tables(height, width, angles, self.bins)
        rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)
        self.frequency = torch.hypot(rows, columns).clamp(min=0.5 / max(height, width)).double()

    def forward(self, x: Tensor) -> Tensor:
        return _apply(self._cast("project", x), x.flatten(2)).reshape(-1, *self.measurement_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        return _apply(self._cast("back", y), y.flatten(2)).reshape(-1, *self.shape)

    def fbp(self, y: Tensor, window: str = "ramp") -> Tensor:
        """Reconstruct by filtered back-projection.

        It is exact for many angles and fine pixels; few leave streaks.

        Kak and Slaney 1988, eq. 3.61.

        Args:
            y: projections (B, C, n, D).
            window: "ramp" (Ram-Lak), or "hann" against noise.

        Returns:
            Images (B, C, H, W).
        """
        if window not in ("ramp", "hann"):
            raise ValueError(f"window must be ramp or hann, got {window!r}")
        size = fast_size(2 * self.bins)
        offsets = torch.arange(size, device=y.device, dtype=y.dtype)
        offsets = torch.minimum(offsets, size - offsets)
        odd = offsets % 2 == 1
        ramp = torch.where(odd, -1 / (math.pi * offsets.clamp(min=1)) ** 2, 0.0)
        ramp[0] = 0.25
        response = torch.fft.rfft(ramp).real
        if window == "hann":
            response = response * (0.5 + 0.5 * torch.cos(2 * math.pi * torch.fft.rfftfreq(size, device=y.device))).to(
                y.dtype
            )
        filtered = torch.fft.irfft(torch.fft.rfft(y, n=size) * response, n=size)[..., : self.bins]
        return self.A_adjoint(filtered) * (math.pi / self.angles)

    def precondition(self, v: Tensor, damping: Tensor) -> Tensor:
        # A^T A is nearly the convolution with angles / (pi r), whose transform is angles / (pi |frequency|)
        frequency = self._cast("frequency", v)
        response = frequency / (damping * frequency + self.angles / math.pi)
        return torch.fft.ifft2(torch.fft.fft2(v) * response).real


def _apply(table: Tensor, x: Tensor) -> Tensor:
    """Multiply a sparse table (m, n) with x (B, C, n), giving (B, C, m)."""
    return (table @ x.flatten(0, 1).T.contiguous()).T.reshape(*x.shape[:2], -1)


def _tables(height: int, width: int, angles: int, bins: int) -> tuple[Tensor, Tensor]:
    """Build the back-projection table (H W, angles * bins) and its transpose, sparse, 3 entries per pixel and angle."""
    places, weights = _shadows(height, width, angles, bins)
    pixels = torch.arange(height * width, dtype=torch.int32)
    starts = torch.arange(height * width + 1, dtype=torch.int32) * (3 * angles)
    order = torch.sort(places, stable=True).indices
    counts = torch.bincount(places, minlength=angles * bins)
    row_starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        shape = (height * width, angles * bins)
        back = torch.sparse_csr_tensor(starts, places, weights, shape, check_invariants=False)
        sources = pixels.repeat_interleave(3 * angles)[order]
        project = torch.sparse_csr_tensor(row_starts, sources, weights[order], shape[::-1], check_invariants=False)
    return back, project


def _shadows(height: int, width: int, angles: int, bins: int) -> tuple[Tensor, Tensor]:
    """Find the bins of each pixel's shadow, angle by angle, int32 (H W angles 3,), and its shares there, float64."""
    theta = torch.arange(angles, dtype=torch.float64) * (math.pi / angles)
    cosine, sine = theta.cos(), theta.sin()
    rows = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    centre = (rows[:, None, None] * sine + columns[:, None] * cosine).reshape(-1, angles) + (bins - 1) / 2
    reach = (cosine.abs() + sine.abs()) / 2
    first = (centre - reach + 0.5).floor().clamp(0, bins - 3)
    edges = first[..., None] + torch.arange(4, dtype=torch.float64) - 0.5 - centre[..., None]
    weights = _covered(edges, cosine.abs()[:, None], sine.abs()[:, None]).diff(dim=-1)
    places = (torch.arange(angles) * bins)[:, None] + first.long()[..., None] + torch.arange(3)
    return places.flatten().int(), weights.flatten()


def _covered(u: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Share of a pixel's shadow to the left of u, 0 to 1: the distribution of the sum of two centred boxes."""
    wide, narrow = torch.maximum(first, second), torch.minimum(first, second)
    outer, inner = (wide + narrow) / 2, (wide - narrow) / 2
    corner = (outer - u.abs()).clamp(min=0.0)
    right_share = torch.where(
        u.abs() > inner, corner.square() / (2 * wide * narrow).clamp(min=1e-300), 0.5 - u.abs() / wide
    )
    return torch.where(u > 0, 1 - right_share, right_share)
