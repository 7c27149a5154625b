"""PSNR and SSIM by one recipe: 8-bit images, no border cut off, data range 1.

Both images are first rounded to 8 bits, as the files are that people compare. `channel="rgb"` takes all three channels
(PSNR from the mean error over them, SSIM as their mean); `channel="y"` takes the luma of ITU-R BT.601 in its studio
range, as papers on deraining and super-resolution do:

    Y = (65.481 R + 128.553 G + 24.966 B + 16) / 255,      R, G, B in [0, 1]
"""

from typing import Literal

import torch
from torch import Tensor

from rebridge.images import quantise

Channel = Literal["rgb", "y"]

HIGHEST_PSNR = 100.0
"""Score of equal images in dB, so that means stay finite."""

SSIM_WINDOW = 11
"""Side of SSIM's window in pixels; smaller images have no SSIM."""

_LUMA = (65.481, 128.553, 24.966)


def psnr(restored: Tensor, clean: Tensor, channel: Channel = "rgb", rounded: bool = True) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB of each image, (B,), at most 100.

    Args:
        restored, clean: (B, C, H, W) in [0, 1].
        channel: "rgb" for all channels, or "y" for the luma of three.
        rounded: to 8 bits first, as files of pictures are; False for data of more bits.

    Raises:
        ValueError: the shapes differ.
    """
    # Imported here, as torchmetrics takes longer to load than torch itself.
    from torchmetrics.functional.image import peak_signal_noise_ratio

    pair = _prepared(restored, clean, channel, rounded)
    values = peak_signal_noise_ratio(*pair, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return values.clamp(max=HIGHEST_PSNR)


def ssim(restored: Tensor, clean: Tensor, channel: Channel = "rgb", rounded: bool = True) -> Tensor:
    """Compute the structural similarity of each image, (B,), in [-1, 1].

    Gaussian window of 11x11 with sigma 1.5; only windows inside the image count; images smaller than a window give NaN. Wang et
    al. 2004, with k1 = 0.01, k2 = 0.03.

    Args:
        restored, clean: (B, C, H, W) in [0, 1].
        channel: "rgb" for all channels, or "y" for the luma of three.
        rounded: to 8 bits first, as files of pictures are; False for data of more bits.

    Raises:
        ValueError: the shapes differ.
    """
    pair = _prepared(restored, clean, channel, rounded)
    if min(restored.shape[-2:]) < SSIM_WINDOW:
        return torch.full((len(restored),), torch.nan)
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, similarity = structural_similarity_index_measure(
        *pair, data_range=1.0, sigma=1.5, k1=0.01, k2=0.03, reduction="none", return_full_image=True
    )
    # torchmetrics mirrors the image beyond its border; the paper, and all published tables, have no such windows.
    border = SSIM_WINDOW // 2
    return similarity[..., border:-border, border:-border].mean(dim=(1, 2, 3))


def luma(images: Tensor) -> Tensor:
    """Turn RGB images (B, 3, H, W) in [0, 1] into Y of BT.601, (B, 1, H, W)."""
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device).reshape(1, 3, 1, 1)
    return ((images * weights).sum(dim=1, keepdim=True) + 16) / 255


def _prepared(restored: Tensor, clean: Tensor, channel: Channel, rounded: bool) -> tuple[Tensor, Tensor]:
    if restored.shape != clean.shape:
        raise ValueError(f"images to compare must have one shape, got {tuple(restored.shape)} and {tuple(clean.shape)}")
    if restored.ndim != 4 or 0 in restored.shape:
        raise ValueError(f"images must have shape (B, C, H, W), got {tuple(restored.shape)}")
    if channel not in ("rgb", "y"):
        raise ValueError(f"channel must be rgb or y, got '{channel}'")
    if channel == "y" and restored.shape[1] != 3:
        raise ValueError(f"the luma is that of three channels, got {restored.shape[1]}")
    pair = tuple(image.detach().float().cpu().clamp(0, 1) for image in (restored, clean))
    if rounded:
        pair = tuple(map(quantise, pair))
    return (luma(pair[0]), luma(pair[1])) if channel == "y" else (pair[0], pair[1])
