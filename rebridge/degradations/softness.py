"""Soft pictures of other make than `optics.Blur`.

Gaussian blur in any direction, straight motion, enlarging; and JPEG twice.
"""

import math
from dataclasses import dataclass

import cv2
import torch
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range, check_number
from rebridge.degradations.compression import through_jpeg
from rebridge.degradations.optics import convolve
from rebridge.degradations.streaks import line_kernel

FILTERS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_AREA)


def ellipse_kernel(long: float, short: float, angle: float) -> Tensor:
    """Make a Gaussian kernel, (K, K) with K odd, of sum 1.

    Its deviations are long >= short > 0 px, at an angle in radians.
    """
    reach = math.ceil(3 * long)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32)
    y, x = axis[:, None], axis[None]
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kernel = torch.exp(-(u / long).square() / 2 - (v / short).square() / 2)
    return kernel / kernel.sum()


def resize(image: Tensor, height: int, width: int, how: int) -> Tensor:
    """Resize (C, H, W) to (C, height, width) by one of OpenCV's filters."""
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    resized = torch.from_numpy(cv2.resize(pixels, (width, height), interpolation=how))
    return resized.view(height, width, image.shape[0]).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class Softening(Degradation):
    """Blur by a Gaussian of any direction or by straight motion."""

    sigma: Range = (0.5, 3.2)
    """Standard deviation of the Gaussian in px, log-uniform, in [0.2, 50]."""
    roundness: Range = (0.4, 1.0)
    """Short over long axis of the Gaussian, in [0.05, 1]."""
    motion: float = 0.35
    """Probability of straight motion instead, in [0, 1]."""
    length: Range = (3.0, 20.0)
    """Length of the motion in px, in [0, 200]."""

    def __post_init__(self) -> None:
        self.limit(sigma=(0.2, 50), roundness=(0.05, 1), length=(0, 200))
        check_number("motion", self.motion, 0, 1)

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        angle = draw.uniform((0, math.pi))
        if draw.uniform((0, 1)) < self.motion:
            return convolve(image, line_kernel(draw.uniform(self.length), 0.35, angle))
        sigma = draw.log_uniform(self.sigma)
        return convolve(image, ellipse_kernel(sigma, sigma * draw.uniform(self.roundness), angle))


@dataclass(frozen=True)
class Enlarged(Degradation):
    """A picture that was made smaller and enlarged again.

    With any of four filters each way.
    """

    factor: Range = (1.3, 3.5)
    """How many times smaller, in [1, 32]."""

    def __post_init__(self) -> None:
        self.limit(factor=(1, 32))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        height, width = image.shape[-2:]
        factor = draw.uniform(self.factor)
        down = FILTERS[draw.integer(0, 3)]
        small = resize(image, max(round(height / factor), 1), max(round(width / factor), 1), down).clamp(0, 1)
        return resize(small, height, width, FILTERS[draw.integer(0, 2)])


@dataclass(frozen=True)
class Resaved(Degradation):
    """JPEG at any quality, now and then twice.

    The second time with blocks that begin elsewhere.
    """

    quality: Range = (6.0, 70.0)
    """The encoder's quality, in [1, 100]."""
    twice: float = 0.3
    """Probability of a second compression, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(quality=(1, 100))
        check_number("twice", self.twice, 0, 1)

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        saved = through_jpeg(image, round(draw.uniform(self.quality)))
        if draw.uniform((0, 1)) >= self.twice:
            return saved
        down, right = draw.integer(0, 7), draw.integer(0, 7)
        moved = saved.roll((down, right), (-2, -1))
        return through_jpeg(moved, round(draw.uniform(self.quality))).roll((-down, -right), (-2, -1))
