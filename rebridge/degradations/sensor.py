"""Noise of the sensor: white Gaussian noise."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range


@dataclass(frozen=True)
class GaussianNoise(Degradation):
    """y = x + sigma n with n standard normal, independent for each pixel and channel."""

    any_channels: ClassVar[bool] = True

    sigma: Range = 25 / 255
    """Standard deviation on the scale where white is 1, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(sigma=(0, 1))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        sigma = draw.uniform(self.sigma)
        return image + sigma * draw.randn(*image.shape)
