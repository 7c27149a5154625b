"""Size, colours and details of pictures that pass a generative model.

Priors in latents were trained at one size, and shift colours: the published results of IRBridge are of 512 x 512 pixels, and
restorers built on Stable Diffusion take the colours of the degraded image where the degradation did not touch them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Colours = Literal["adain", "wavelet"]
WAVELET_LEVELS = 5
"""Octaves above which the colours of the degraded image are taken: structures of more than about 60 pixels."""


@dataclass(frozen=True)
class Finish:
    """Settings beside bridge and sampler for results of generative models.

    Args:
        detail: strength in [0, 1] with which details of the input are kept where nothing was restored, for autoencoders that
            lose them; see `keep_details`.
        colour: take the input's colours, see `match_colours`: "adain", "wavelet" or None.
        resize: side in pixels that the shorter side of an image is scaled to for the model, and back; None leaves images as they
            are. Stable Diffusion 1.5 was trained at 512.
    """

    detail: float = 0.0
    colour: Colours | None = None
    resize: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.detail <= 1:
            raise ValueError(f"detail must lie in [0, 1], got {self.detail}")
        if self.colour not in (None, "adain", "wavelet"):
            raise ValueError(f"colour must be adain or wavelet, got {self.colour!r}")
        if self.resize is not None and self.resize < 16:
            raise ValueError(f"resize must be at least 16 pixels, got {self.resize}")

    def scaled(self, images: Tensor) -> Tensor:
        """Scale images (B, C, H, W) in [0, 1] to the size that the model is to see."""
        if self.resize is None:
            return images
        height, width = images.shape[-2:]
        factor = self.resize / min(height, width)
        return scale_to(images, round(factor * height), round(factor * width))


def scale_to(images: Tensor, height: int, width: int) -> Tensor:
    """Scale images (B, C, H, W) in [0, 1] by antialiased bicubic interpolation."""
    if images.shape[-2:] == (height, width):
        return images
    scaled = F.interpolate(images.float(), (height, width), mode="bicubic", align_corners=False, antialias=True)
    return scaled.clamp(0, 1).to(images.dtype)


def match_colours(restored: Tensor, y: Tensor, kind: Colours) -> Tensor:
    """Give restored images the colours of the degraded ones.

    "adain" shifts and scales every channel to y's mean and standard deviation; "wavelet" takes the lowest octaves of y and the
    others of the restored image. Neither suits a degradation of the colours themselves, such as low light or haze.

    Args:
        restored: (B, C, H, W) in [0, 1].
        y: degraded images, alike.
        kind: "adain" or "wavelet".

    Returns:
        Images (B, C, H, W), not clamped.
    """
    if kind == "adain":
        axes = (-2, -1)
        spread = y.std(axes, keepdim=True) / restored.std(axes, keepdim=True).clamp(min=1e-5)
        return (restored - restored.mean(axes, keepdim=True)) * spread + y.mean(axes, keepdim=True)
    return restored - smooth(restored) + smooth(y)


def smooth(images: Tensor, levels: int = WAVELET_LEVELS) -> Tensor:
    """Keep the lowest octaves of images (B, C, H, W).

    The a-trous wavelet transform with the kernel (1, 2, 1)/4 along rows and columns.
    """
    axis = torch.tensor([0.25, 0.5, 0.25], dtype=images.dtype, device=images.device)
    channels = images.shape[1]
    kernel = (axis[:, None] * axis).expand(channels, 1, 3, 3)
    for level in range(levels):
        reach = 2**level
        framed = F.pad(images, [reach] * 4, mode="replicate")
        images = F.conv2d(framed, kernel, dilation=reach, groups=channels)
    return images
