"""Loss of resolution: downsampling, and bicubic upsampling back."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from rebridge.degradations.base import Degradation, Draw, Range, check_number
from rebridge.degradations.borders import extend
from rebridge.degradations.compression import through_jpeg


def shrink(image: Tensor, scale: int, how: str = "bicubic") -> Tensor:
    """Downsample (C, H, W) by an integer, not clamped.

    A size that is no multiple of the scale is first completed by mirroring, so that the factor is exact.

    Args:
        image: (C, H, W).
        scale: factor, at least 1.
        how: bicubic (Keys' kernel with a = -0.5), bilinear, both widened by the scale against aliasing, or area, the mean.

    Returns:
        (C, ceil(H / scale), ceil(W / scale)).
    """
    height, width = (math.ceil(n / scale) for n in image.shape[-2:])
    whole = extend(image, 0, height * scale - image.shape[-2], width * scale - image.shape[-1])
    if how == "area":
        return avg_pool2d(whole[None], scale)[0]
    return interpolate(whole[None], size=(height, width), mode=how, antialias=True, align_corners=False)[0]


def enlarge(image: Tensor, scale: int, height: int, width: int) -> Tensor:
    """Upsample (C, h, w) with the same kernel and crop to (C, height, width).

    The result is not clamped.
    """
    size = (image.shape[-2] * scale, image.shape[-1] * scale)
    large = interpolate(image[None], size=size, mode="bicubic", antialias=True, align_corners=False)[0]
    return large[:, :height, :width]


@dataclass(frozen=True)
class Downsampling(Degradation):
    """Bicubic downsampling by `scale`; nothing random."""

    any_channels: ClassVar[bool] = True

    resizes: ClassVar[bool] = True

    scale: int = 4
    """Factor, a whole number in [1, 64]; the result has ceil(H / scale) x ceil(W / scale) pixels."""
    upsample: bool = False
    """Whether to return to the size of the input by bicubic upsampling, as for training."""

    def __post_init__(self) -> None:
        if isinstance(self.scale, bool) or not isinstance(self.scale, int) or not 1 <= self.scale <= 64:
            raise ValueError(f"scale must be a whole number in [1, 64], got {self.scale!r}")
        if not isinstance(self.upsample, bool):
            raise TypeError(f"upsample must be true or false, got {self.upsample!r}")

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        small = shrink(image, self.scale).clamp(0, 1)
        return enlarge(small, self.scale, *image.shape[-2:]) if self.upsample else small


@dataclass(frozen=True)
class LowResolution(Degradation):
    """A small picture, bicubically enlarged to the size that is wanted.

    This is what a model that enlarges is given. It was made small by one of three filters, now and then saved as JPEG.
    """

    scales: Range = (2, 4)
    """Least and greatest factor; whole numbers in [1, 64], each as likely as another."""
    other: float = 0.4
    """Probability of a bilinear or area filter instead of a bicubic one, in [0, 1]."""
    jpeg: float = 0.15
    """Probability that the small picture was saved as JPEG, in [0, 1]."""
    quality: Range = (70.0, 98.0)
    """Quality of that, in [1, 100]."""

    def __post_init__(self) -> None:
        self.limit(scales=(1, 64), quality=(1, 100))
        check_number("other", self.other, 0, 1)
        check_number("jpeg", self.jpeg, 0, 1)

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        low, high = self.scales if isinstance(self.scales, tuple) else (self.scales, self.scales)
        scale = draw.integer(math.ceil(low), max(math.floor(high), math.ceil(low)))
        how = "bicubic" if draw.uniform((0, 1)) >= self.other else ("bilinear", "area")[draw.integer(0, 1)]
        small = shrink(image, scale, how).clamp(0, 1)
        if draw.uniform((0, 1)) < self.jpeg:
            small = through_jpeg(small, round(draw.uniform(self.quality)))
        else:
            small = (small * 255).round() / 255
        return enlarge(small, scale, *image.shape[-2:])
