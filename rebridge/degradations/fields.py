"""Random fields on the pixel grid: smooth ones, and sparse particles.

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
    """The frequency grid of an image.

    Attributes:
        height: of the image.
        width: of the image.
        size: height and width, at least as large, that transform fast.
        fy: vertical frequencies in 1/px, (h, 1).
        fx: horizontal frequencies in 1/px, (1, w // 2 + 1).
    """

    height: int
    width: int
    size: tuple[int, int]
    fy: Tensor
    fx: Tensor


@cache
def fast_size(n: int) -> int:
    """Find the smallest number 2^a 3^b 5^c that is at least n.

    The Fourier transform is quick at such sizes.
    """
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def canvas(height: int, width: int) -> Canvas:
    """Build the frequency grid for images of height x width."""
    size = (fast_size(height), fast_size(width))
    return Canvas(height, width, size, torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None])


def smooth_field(height: int, width: int, spacing: float, draw: Draw) -> Tensor:
    """Draw a smooth Gaussian field, (height, width), mean 0 and variance 1.

    White noise on a coarse grid with a random offset, interpolated by cubic B-splines: the statistics do not depend
    on the size of the image. Derived.

    Args:
        height: in px.
        width: in px.
        spacing: width of its structure in px.
        draw: the random numbers.
    """
    rows = spline_weights(height, spacing, draw.uniform((0, 1)))
    columns = spline_weights(width, spacing, draw.uniform((0, 1)))
    return rows @ draw.randn(rows.shape[1], columns.shape[1]) @ columns.T / SPLINE_STD


def spline_weights(length: int, spacing: float, offset: float) -> Tensor:
    """Compute cubic B-spline weights (length, knots) of each pixel.

    Args:
        length: in px.
        spacing: of the knots, in px.
        offset: of the first knot, in spacings.
    """
    positions = torch.arange(length) / spacing + offset
    knots = torch.arange(-1, math.floor(float(positions[-1])) + 3)
    distance = (positions[:, None] - knots[None]).abs()
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, inner, outer)


def particles(grid: Canvas, densities: list[float], draw: Draw) -> Tensor:
    """Draw sparse impulses, one plane per density: (N, h, w) on the canvas.

    Their heights lie in [0.3, 1].

    Args:
        grid: the canvas.
        densities: particles per pixel.
        draw: the random numbers.
    """
    area = grid.size[0] * grid.size[1]
    counts = [draw.poisson(density * area) for density in densities]
    total = sum(counts)
    where = (draw.rand(total) * area).long().clamp(max=area - 1)
    plane = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    planes = torch.zeros(len(counts) * area)
    planes.index_add_(0, plane * area + where, 0.3 + 0.7 * draw.rand(total))
    return planes.view(len(counts), *grid.size)


def paint(impulses: Tensor, spectra: Tensor, grid: Canvas) -> Tensor:
    """Convolve impulses with kernels given by their spectra, and sum over planes.

    Returns:
        (H, W), non-negative.
    """
    total = (torch.fft.rfft2(impulses) * spectra).sum(0)
    return torch.fft.irfft2(total, s=grid.size)[: grid.height, : grid.width].clamp(min=0)


def along_and_across(grid: Canvas, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Compute frequencies along and across directions.

    Args:
        grid: the canvas.
        angles: (N,), in radians from the vertical.

    Returns:
        Two tensors (N, h, w // 2 + 1).
    """
    sin, cos = angles.sin()[:, None, None], angles.cos()[:, None, None]
    return grid.fx * sin + grid.fy * cos, grid.fx * cos - grid.fy * sin


def streak_spectra(grid: Canvas, angles: Tensor, lengths: Tensor, widths: Tensor) -> Tensor:
    """Compute spectra of straight streaks with peak value about 1.

    A streak is a line with a Gaussian cross-section. Its ends fade over an eighth of the length, as those of a drop crossing the
    field during the exposure.

    Args:
        grid: the canvas.
        angles: (N,), in radians from the vertical.
        lengths: (N,), in px.
        widths: (N,), standard deviations across in px.
    """
    along, across = along_and_across(grid, angles)
    length, width = lengths[:, None, None], widths[:, None, None]
    fade = length / 8
    envelope = torch.exp(-2 * math.pi**2 * ((width * across) ** 2 + (fade * along) ** 2))
    return torch.sinc(length * along) * envelope * (length * width * math.sqrt(2 * math.pi))


def flake_spectra(grid: Canvas, angles: Tensor, radii: Tensor, stretch: Tensor, travel: Tensor) -> Tensor:
    """Compute spectra of soft elliptic flakes that moved, with peak value about 1.

    The profile is a Gaussian plus a flatter correction, so that flakes have a bright plateau and a soft rim.

    Args:
        grid: the canvas.
        angles: (N,), of motion, in radians from the vertical.
        radii: (N,), half-width at half maximum across in px.
        stretch: (N,), ratio of the axes.
        travel: (N,), px moved along `angles` during the exposure.
    """
    along, across = along_and_across(grid, angles)
    radius, ratio, motion = radii[:, None, None], stretch[:, None, None], travel[:, None, None]
    width = radius * 0.72
    q = 2 * math.pi**2 * width**2 * (across**2 + (ratio * along) ** 2)
    plateau = (1 + q) * torch.exp(-q)
    peak = 2 * math.pi * width**2 * ratio
    lengthened = torch.sqrt(1 + (motion / (2 * width * ratio)) ** 2)
    return plateau * torch.sinc(motion * along) * peak / 2 * lengthened


def splatted(points: Tensor, light: Tensor, height: int, width: int) -> Tensor:
    """Add light at points with bilinear weights.

    Args:
        points: (N, 2), y and x in px; what lies outside is lost.
        light: (N,).
        height, width: of the result.

    Returns:
        (height, width).
    """
    corner = points.floor()
    rest = points - corner
    field = torch.zeros(height * width)
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = (corner + torch.tensor([dy, dx])).long().unbind(1)
            share = (rest[:, 0] if dy else 1 - rest[:, 0]) * (rest[:, 1] if dx else 1 - rest[:, 1])
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            field.index_add_(0, (y * width + x)[inside], (share * light)[inside])
    return field.view(height, width)
