"""Noise and tone curves of a camera in little light.

Demosaiced and correlated noise, night exposures, dark tone curves.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range, check_number
from rebridge.degradations.exposure import to_display, to_linear

CROSS = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
"""Bilinear interpolation of the green sites of a Bayer pattern."""
SQUARE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4
"""Bilinear interpolation of the red and the blue sites."""


def demosaic(noise: Tensor, phase: int) -> Tensor:
    """Keep one colour a pixel of (3, H, W), as a Bayer sensor does.

    The rest is interpolated bilinearly.

    Args:
        noise: (3, H, W), in linear light; the interpolation is linear, so noise may be sent through it alone.
        phase: which of the four layouts of the pattern, 0 to 3.
    """
    rows, columns = torch.arange(noise.shape[-2])[:, None] + phase // 2, torch.arange(noise.shape[-1])[None] + phase % 2
    red, blue = (rows % 2 == 0) & (columns % 2 == 0), (rows % 2 == 1) & (columns % 2 == 1)
    planes = [noise[0] * red, noise[1] * ~(red | blue), noise[2] * blue]
    filtered = [
        cv2.filter2D(plane.numpy(), cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
        for plane, kernel in zip(planes, (SQUARE, CROSS, SQUARE), strict=True)
    ]
    return torch.from_numpy(np.stack(filtered))


def soften(planes: Tensor, sigma: float) -> Tensor:
    """Blur (C, H, W) by a Gaussian of `sigma` px.

    Keeping the deviation of white noise.
    """
    if sigma < 0.2:
        return planes
    deviation = float(planes.std()) if planes[0].numel() > 1 else 0.0
    blurred = torch.stack(
        [torch.from_numpy(cv2.GaussianBlur(plane.contiguous().numpy(), (0, 0), sigma)) for plane in planes]
    )
    now = float(blurred.std()) if planes[0].numel() > 1 else 0.0
    return blurred * (deviation / now) if now > 0 else blurred


@dataclass(frozen=True)
class CameraNoise(Degradation):
    """Shot and read noise in linear light, demosaiced, its colour smoothed.

    Developed for display.
    """

    full_well: Range = (60.0, 12000.0)
    """Electrons of a white pixel, log-uniform, in [5, 1e6]: fewer means more noise."""
    read_noise: Range = (0.0005, 0.02)
    """Standard deviation of the read noise relative to white, log-uniform, in [0, 0.5]."""
    demosaiced: float = 0.7
    """Probability that the noise went through a Bayer pattern, in [0, 1]."""
    smoothing: Range = (0.0, 1.0)
    """Standard deviation in px of the camera's smoothing of the noise, in [0, 20]."""
    chroma: Range = (0.0, 2.5)
    """Standard deviation in px of its further smoothing of the noise of colours, in [0, 20]."""

    def __post_init__(self) -> None:
        self.limit(full_well=(5, 1e6), read_noise=(0, 0.5), smoothing=(0, 20), chroma=(0, 20))
        check_number("demosaiced", self.demosaiced, 0, 1)

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        light = to_linear(image)
        return to_display(light + self.noise(light, draw))

    def noise(self, light: Tensor, draw: Draw) -> Tensor:
        """Draw the noise of linear light (C, H, W), of the same shape."""
        variance = light / draw.log_uniform(self.full_well) + draw.log_uniform(self.read_noise) ** 2
        noise = variance.sqrt() * draw.randn(*light.shape)
        if light.shape[0] == 3 and draw.uniform((0, 1)) < self.demosaiced:
            noise = demosaic(noise, draw.integer(0, 3))
        noise = soften(noise, draw.uniform(self.smoothing))
        grey = noise.mean(0, keepdim=True)
        return grey + soften(noise - grey, draw.uniform(self.chroma))


@dataclass(frozen=True)
class Grain(Degradation):
    """Noise on display values, correlated over pixels and between colours.

    So is that of film and of resized pictures.
    """

    sigma: Range = (0.004, 0.16)
    """Standard deviation, log-uniform, in [0, 1]."""
    size: Range = (0.0, 1.6)
    """Standard deviation in px of the blur of the grains, in [0, 20]."""
    colour: Range = (0.0, 1.2)
    """Strength of the noise of the colours relative to that of the brightness, in [0, 10]."""
    chroma: Range = (0.0, 2.5)
    """Standard deviation in px of the blur of the noise of the colours, in [0, 20]."""
    shadows: Range = (-0.5, 0.9)
    """Share of the noise that goes with darkness, with brightness where negative, in [-1, 1]."""

    def __post_init__(self) -> None:
        self.limit(sigma=(0, 1), size=(0, 20), colour=(0, 10), chroma=(0, 20), shadows=(-1, 1))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        grey = soften(draw.randn(1, *image.shape[-2:]), draw.uniform(self.size))
        colour = draw.randn(*image.shape)
        colour = soften(colour - colour.mean(0, keepdim=True), draw.uniform(self.chroma)) * draw.uniform(self.colour)
        level = image.mean(0, keepdim=True)
        shadows = draw.uniform(self.shadows)
        share = 1 - shadows * level if shadows > 0 else 1 + shadows * (1 - level)
        return image + draw.log_uniform(self.sigma) * share * (grey + colour)


@dataclass(frozen=True)
class Night(Degradation):
    """A night exposure: little linear light, shot and read noise.

    White balance that is off, developed for display.
    """

    exposure: Range = (0.015, 0.6)
    """Factor on the linear light, log-uniform, in [0.001, 1]."""
    cast: Range = (0.0, 0.2)
    """Standard deviation of the colour cast, per channel and relative, in [0, 0.5]."""
    full_well: Range = (600.0, 30000.0)
    """Electrons of a white pixel at full exposure, log-uniform, in [10, 1e6]."""
    read_noise: Range = (0.0001, 0.003)
    """Standard deviation of the read noise relative to white, log-uniform, in [0, 0.5]."""
    gamma: Range = (0.9, 1.15)
    """Exponent of the tone curve on display values, in [0.2, 5]."""
    noiseless: float = 0.3
    """Probability of no noise at all, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(exposure=(0.001, 1), cast=(0, 0.5), full_well=(10, 1e6), read_noise=(0, 0.5), gamma=(0.2, 5))
        check_number("noiseless", self.noiseless, 0, 1)

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        cast = (1 + draw.uniform(self.cast) * draw.randn(image.shape[0], 1, 1)).clamp(0.3, 2)
        light = to_linear(image) * (draw.log_uniform(self.exposure) * cast)
        if draw.uniform((0, 1)) >= self.noiseless:
            camera = CameraNoise(self.full_well, self.read_noise, smoothing=(0.0, 0.6), chroma=(0.0, 1.5))
            light = light + camera.noise(light, draw)
        return to_display(light) ** draw.uniform(self.gamma)


@dataclass(frozen=True)
class Dim(Degradation):
    """A tone curve that darkens display values: y = scale cast x^gamma."""

    scale: Range = (0.25, 1.0)
    """Factor on display values, in [0, 1]."""
    gamma: Range = (1.0, 3.2)
    """Exponent, log-uniform, in [0.2, 10]."""
    cast: Range = (0.0, 0.08)
    """Standard deviation of the colour cast, per channel and relative, in [0, 0.5]."""

    def __post_init__(self) -> None:
        self.limit(scale=(0, 1), gamma=(0.2, 10), cast=(0, 0.5))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        cast = (1 + draw.uniform(self.cast) * draw.randn(image.shape[0], 1, 1)).clamp(0.3, 2)
        return draw.uniform(self.scale) * cast * image ** draw.log_uniform(self.gamma)
