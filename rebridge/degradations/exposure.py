"""Low light: a short exposure with the noise of photons and sensor."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range


def to_linear(srgb: Tensor) -> Tensor:
    """Convert display values in [0, 1] to linear light, IEC 61966-2-1."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_display(linear: Tensor) -> Tensor:
    """Convert linear light to display values, IEC 61966-2-1.

    Negative light is black.
    """
    linear = linear.clamp(min=0)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@dataclass(frozen=True)
class LowLight(Degradation):
    """An under-exposed photograph: y = display(noisy(exposure cast linear(x)))^gamma.

    In linear light, the number of photons of a pixel is Poisson (drawn as a Gaussian with the same mean and
    variance, which is close beyond a few electrons), and reading the sensor adds Gaussian noise.
    """

    exposure: Range = (0.08, 0.36)
    """Factor on the linear light, log-uniform, in [0.001, 1]."""
    gamma: Range = (1.0, 1.2)
    """Exponent of the tone curve on display values, in [0.2, 5]; above 1 darkens the shadows."""
    cast: Range = 0.06
    """Standard deviation of the colour cast, per channel and relative, in [0, 0.5]."""
    full_well: Range = (6000.0, 20000.0)
    """Electrons of a white pixel at full exposure, in [10, 1e6]: fewer means more shot noise."""
    read_noise: Range = (0.0002, 0.001)
    """Standard deviation of the read noise relative to the full well, in [0, 0.5]."""

    def __post_init__(self) -> None:
        self.limit(exposure=(0.001, 1), gamma=(0.2, 5), cast=(0, 0.5), full_well=(10, 1e6), read_noise=(0, 0.5))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        cast = 1 + draw.uniform(self.cast) * draw.randn(image.shape[0], 1, 1)
        light = to_linear(image) * (draw.log_uniform(self.exposure) * cast.clamp(min=0.1))
        variance = light / draw.uniform(self.full_well) + draw.uniform(self.read_noise) ** 2
        noisy = light + variance.sqrt() * draw.randn(*image.shape)
        return to_display(noisy) ** draw.uniform(self.gamma)
