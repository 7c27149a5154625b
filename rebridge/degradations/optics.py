"""Blur: camera shake along a random trajectory, or a defocus disc.

Borders are mirrored.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range, check_number
from rebridge.degradations.borders import extend
from rebridge.degradations.fields import fast_size, splatted

PATH_STEPS = 128
"""Points at which the trajectory of the camera is sampled."""


def trajectory_kernel(length: float, wander: float, draw: Draw) -> Tensor:
    """Draw the kernel of a camera shake, (K, K) with K odd.

    It is non-negative with sum 1, and centred on its centre of gravity. The speed varies smoothly along the path by about a
    factor of two, and the path is drawn with bilinear weights.

    Args:
        length: of the path in px, at least 0.
        wander: change of the direction along the path, in radians (standard deviation from start to end).
        draw: the random numbers.
    """
    turns = torch.cumsum(draw.randn(PATH_STEPS), 0) * (wander / math.sqrt(PATH_STEPS))
    jerk = (torch.arange(PATH_STEPS) >= draw.integer(0, PATH_STEPS)) * (draw.uniform((-1, 1)) * wander)
    heading = draw.uniform((0, 2 * math.pi)) + turns + jerk
    speed = torch.exp(0.4 * torch.sin(torch.linspace(0, 2 * math.pi, PATH_STEPS) * draw.uniform((0.5, 2)) + heading[0]))
    steps = speed / speed.sum() * length
    path = torch.stack([torch.cumsum(steps * heading.sin(), 0), torch.cumsum(steps * heading.cos(), 0)])
    path = path - path.mean(1, keepdim=True)
    return splat(path)


def splat(path: Tensor) -> Tensor:
    """Draw points into the smallest odd square kernel that holds them.

    Args:
        path: (2, N), y and x in px about the centre.
    """
    reach = math.ceil(float(path.abs().max()))
    size = 2 * reach + 3
    kernel = splatted((path + reach + 1).T, torch.ones(path.shape[1]), size, size)
    return kernel / kernel.sum()


def gaussian_kernel(sigma: float) -> Tensor:
    """Compute a Gaussian, (K, K) with K odd, cut at three sigma, sum 1.

    Args:
        sigma: standard deviation in px, positive.
    """
    reach = math.ceil(3 * sigma)
    line = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    return torch.outer(line, line) / line.sum() ** 2


def disc_kernel(radius: float) -> Tensor:
    """Compute the kernel of a defocused lens, (K, K) with K odd, sum 1.

    Args:
        radius: of the disc in px; its rim is one pixel soft.
    """
    reach = math.ceil(radius + 0.5)
    axis = torch.arange(-reach, reach + 1)
    kernel = (radius + 0.5 - torch.hypot(axis[:, None].float(), axis[None].float())).clamp(0, 1)
    return kernel / kernel.sum()


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolve an image of any size with a kernel, borders reflected.

    Args:
        image: (C, H, W).
        kernel: odd and square.

    Returns:
        (C, H, W).
    """
    height, width = image.shape[-2:]
    reach = kernel.shape[-1] // 2
    padded = extend(image, reach, reach, reach)
    size = (fast_size(padded.shape[-2]), fast_size(padded.shape[-1]))
    product = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernel, s=size)
    blurred = torch.fft.irfft2(product, s=size)
    return blurred[:, 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]


@dataclass(frozen=True)
class Blur(Degradation):
    """y = k * x, where k is a camera shake or, with probability `defocus`, a disc."""

    any_channels: ClassVar[bool] = True

    length: Range = (6.0, 22.0)
    """Length of the path of the shake in px, in [0, 200]."""
    wander: Range = (0.2, 1.6)
    """Change of direction along the path in radians (standard deviation), in [0, 20]; 0 is a straight line."""
    defocus: float = 0.25
    """Probability of a defocus disc instead of a shake, in [0, 1]."""
    radius: Range = (1.5, 3.5)
    """Radius of the disc in px, in [0, 50]."""
    noisy: float = 0.0
    """Probability that the blurred image has noise, in [0, 1]: cameras that shake in the dark do."""
    noise: Range = (0.002, 0.016)
    """Standard deviation of that noise, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(length=(0, 200), wander=(0, 20), radius=(0, 50), noise=(0, 1))
        check_number("defocus", self.defocus, 0, 1)
        check_number("noisy", self.noisy, 0, 1)

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        blurred = convolve(image, self.kernel(draw))
        if self.noisy > 0 and draw.uniform((0, 1)) < self.noisy:
            blurred = blurred + draw.uniform(self.noise) * draw.randn(*image.shape)
        return blurred

    def kernel(self, draw: Draw) -> Tensor:
        """Draw a kernel (K, K): odd size, non-negative, sum 1."""
        if draw.uniform((0, 1)) < self.defocus:
            return disc_kernel(draw.uniform(self.radius))
        return trajectory_kernel(draw.uniform(self.length), draw.uniform(self.wander), draw)
