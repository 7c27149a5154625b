"""Loss of resolution: bicubic downsampling, and bicubic upsampling back."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import interpolate

from rebridge.degradations.base import Degradation, Draw
from rebridge.degradations.borders import extend


def shrink(image: Tensor, scale: int) -> Tensor:
    """Downsample (C, H, W) by an integer, not clamped.

    Keys' cubic kernel with a = -0.5, widened by the scale against aliasing. A size that is no multiple of the scale
    is first completed by mirroring, so that the factor is exact.

    Returns:
        (C, ceil(H / scale), ceil(W / scale)).
    """
    height, width = (math.ceil(n / scale) for n in image.shape[-2:])
    whole = extend(image, 0, height * scale - image.shape[-2], width * scale - image.shape[-1])
    return interpolate(whole[None], size=(height, width), mode="bicubic", antialias=True, align_corners=False)[0]


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
