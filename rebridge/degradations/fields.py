"""Random fields on the pixel grid: smooth ones, and sparse particles drawn in the frequency domain.

Particles (rain streaks, snow flakes) are impulses convolved with analytic kernels. The convolution is circular on a
canvas at least as large as the image: a particle that leaves on one side enters on the other, so an image of any size
looks like a crop of a larger one.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from rebridge.degradations.base import Draw

SPLINE_STD = 151 / 315
"""Standard deviation of a cubic B-spline field of unit white noise: the integral of the squared spline, per axis."""


@dataclass(frozen=True)
class Canvas:
    """The frequency grid of an image: its size, a size at least as large that transforms fast, and fy, fx in 1/px."""

    height: int
    width: int
    size: tuple[int, int]
    fy: Tensor
    fx: Tensor


@cache
def fast_size(n: int) -> int:
    """The smallest number of the form 2^a 3^b 5^c that is at least n; the Fourier transform is quick at such sizes."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def canvas(height: int, width: int) -> Canvas:
    """The frequency grid for images of height x width: fy is (h, 1), fx is (1, w // 2 + 1)."""
    size = (fast_size(height), fast_size(width))
    return Canvas(height, width, size, torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None])


def smooth_field(height: int, width: int, spacing: float, draw: Draw) -> Tensor:
    """A smooth Gaussian field, (height, width), mean 0 and variance 1, whose structure is `spacing` pixels wide.

    White noise on a coarse grid with a random offset, interpolated by cubic B-splines: the statistics do not depend
    on the size of the image. Derived.
    """
    rows = spline_weights(height, spacing, draw.uniform((0, 1)))
    columns = spline_weights(width, spacing, draw.uniform((0, 1)))
    return rows @ draw.randn(rows.shape[1], columns.shape[1]) @ columns.T / SPLINE_STD


def spline_weights(length: int, spacing: float, offset: float) -> Tensor:
    """Cubic B-spline weights (length, knots) of each pixel over knots `spacing` pixels apart, starting at `offset`."""
    positions = torch.arange(length) / spacing + offset
    knots = torch.arange(-1, math.floor(float(positions[-1])) + 3)
    distance = (positions[:, None] - knots[None]).abs()
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, inner, outer)


def particles(grid: Canvas, densities: list[float], draw: Draw) -> Tensor:
    """Sparse impulses, one plane per density (particles per pixel): (N, h, w) on the canvas, heights in [0.3, 1]."""
    area = grid.size[0] * grid.size[1]
    counts = [draw.poisson(density * area) for density in densities]
    total = sum(counts)
    where = (draw.rand(total) * area).long().clamp(max=area - 1)
    plane = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    planes = torch.zeros(len(counts) * area)
    planes.index_add_(0, plane * area + where, 0.3 + 0.7 * draw.rand(total))
    return planes.view(len(counts), *grid.size)


def paint(impulses: Tensor, spectra: Tensor, grid: Canvas) -> Tensor:
    """The sum over planes of impulses convolved with kernels given by their spectra; (H, W), non-negative."""
    total = (torch.fft.rfft2(impulses) * spectra).sum(0)
    return torch.fft.irfft2(total, s=grid.size)[: grid.height, : grid.width].clamp(min=0)


def along_and_across(grid: Canvas, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Frequencies along and across directions given in radians from the vertical: two (N, h, w // 2 + 1) tensors."""
    sin, cos = angles.sin()[:, None, None], angles.cos()[:, None, None]
    return grid.fx * sin + grid.fy * cos, grid.fx * cos - grid.fy * sin


def streak_spectra(grid: Canvas, angles: Tensor, lengths: Tensor, widths: Tensor) -> Tensor:
    """Spectra of straight streaks with peak value about 1: a line of `lengths` px with a Gaussian cross-section.

    angles: radians from the vertical; widths: standard deviation across in px; all of shape (N,). The ends fade over
    an eighth of the length, as those of a drop crossing the field during the exposure.
    """
    along, across = along_and_across(grid, angles)
    length, width = lengths[:, None, None], widths[:, None, None]
    fade = length / 8
    envelope = torch.exp(-2 * math.pi**2 * ((width * across) ** 2 + (fade * along) ** 2))
    return torch.sinc(length * along) * envelope * (length * width * math.sqrt(2 * math.pi))


def flake_spectra(grid: Canvas, angles: Tensor, radii: Tensor, stretch: Tensor, travel: Tensor) -> Tensor:
    """Spectra of soft elliptic flakes that moved during the exposure, with peak value about 1.

    radii: half-width at half maximum across in px; stretch: ratio of the axes; travel: px moved along `angles`
    (radians from the vertical). The profile is a Gaussian plus a flatter correction, so that flakes have a bright
    plateau and a soft rim. All of shape (N,).
    """
    along, across = along_and_across(grid, angles)
    radius, ratio, motion = radii[:, None, None], stretch[:, None, None], travel[:, None, None]
    width = radius * 0.72
    q = 2 * math.pi**2 * width**2 * (across**2 + (ratio * along) ** 2)
    plateau = (1 + q) * torch.exp(-q)
    peak = 2 * math.pi * width**2 * ratio
    lengthened = torch.sqrt(1 + (motion / (2 * width * ratio)) ** 2)
    return plateau * torch.sinc(motion * along) * peak / 2 * lengthened
