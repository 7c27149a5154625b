"""PSNR and SSIM by one recipe: 8-bit images, no border cut off, data range 1.

Both images are first rounded to 8 bits, as the files are that people compare. `channel="rgb"` takes all three channels
(PSNR from the mean error over them, SSIM as their mean); `channel="y"` takes the luma of ITU-R BT.601 in its studio
range, as papers on deraining and super-resolution do:

    Y = (65.481 R + 128.553 G + 24.966 B + 16) / 255,      R, G, B in [0, 1]

`channel="y-matlab"` rounds Y to whole levels, as MATLAB's rgb2ycbcr does with 8-bit images. Other protocols of papers are
options: a border cut off, levels cut and not rounded, and SSIM with the uniform window of scikit-image.
"""

from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from rebridge.images import quantise

Channel = Literal["rgb", "y", "y-matlab"]
Window = Literal["gaussian", "uniform"]
_Plane = np.ndarray[Any, np.dtype[Any]]

HIGHEST_PSNR = 100.0
"""Score of equal images in dB, so that means stay finite."""

SSIM_WINDOW = 11
"""Side of SSIM's window in pixels; smaller images have no SSIM."""

UNIFORM_WINDOW = 7
"""Side of the uniform window of scikit-image."""

SSIM_SIGMA = 1.5
"""Standard deviation of the Gaussian window in pixels."""

SSIM_K1, SSIM_K2 = 0.01, 0.03
"""The paper's constants, which keep means and variances of dark, flat windows apart from 0."""

_LUMA = (65.481, 128.553, 24.966)


def psnr(
    restored: Tensor,
    clean: Tensor,
    channel: Channel = "rgb",
    rounded: bool = True,
    *,
    border: int = 0,
    truncate: bool = False,
) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB of each image, (B,), at most 100.

    Args:
        restored, clean: (B, C, H, W) in [0, 1].
        channel: "rgb" for all channels, "y" for the luma of three, or "y-matlab" for that luma in whole levels.
        rounded: to 8 bits first, as files of pictures are; False for data of more bits.
        border: pixels that are cut off at each side first.
        truncate: cut levels down to whole ones instead of rounding them, as code with .astype("uint8") does.

    Raises:
        ValueError: the shapes differ, or nothing is left inside the border.
    """
    one, other = _prepared(restored, clean, channel, rounded, border, truncate)
    return (-10 * (one - other).square().mean(dim=(1, 2, 3)).log10()).clamp(max=HIGHEST_PSNR)


def ssim(
    restored: Tensor,
    clean: Tensor,
    channel: Channel = "rgb",
    rounded: bool = True,
    *,
    border: int = 0,
    truncate: bool = False,
    window: Window = "gaussian",
) -> Tensor:
    """Compute the structural similarity of each image, (B,), in [-1, 1].

    Gaussian window of 11x11 with sigma 1.5; only windows inside the image count; images smaller than a window give NaN. Wang et
    al. 2004, with k1 = 0.01, k2 = 0.03.

    Args:
        restored, clean: (B, C, H, W) in [0, 1].
        channel, rounded, border, truncate: as in `psnr`.
        window: "gaussian", or "uniform" for the 7x7 window and the unbiased variances that scikit-image takes by default.

    Raises:
        ValueError: the shapes differ, or nothing is left inside the border.
    """
    pair = _prepared(restored, clean, channel, rounded, border, truncate)
    if min(pair[0].shape[-2:]) < (SSIM_WINDOW if window == "gaussian" else UNIFORM_WINDOW):
        return torch.full((len(restored),), torch.nan)
    planes = [image.flatten(0, 1).double().numpy() for image in pair]
    values = [_similarity(p, q, window) for p, q in zip(*planes, strict=True)]
    return torch.tensor(values, dtype=torch.float32).view(len(restored), -1).mean(1)


def _similarity(p: _Plane, q: _Plane, window: Window) -> float:
    """SSIM of two planes (H, W), in double precision as variances are differences of close numbers."""
    mean_p, mean_q, square_p, square_q, product = (_means(plane, window) for plane in (p, q, p * p, q * q, p * q))
    count = UNIFORM_WINDOW**2
    unbiased = count / (count - 1) if window == "uniform" else 1.0
    variances = unbiased * (square_p + square_q - mean_p**2 - mean_q**2)
    covariance = unbiased * (product - mean_p * mean_q)
    likeness = (2 * mean_p * mean_q + SSIM_K1**2) * (2 * covariance + SSIM_K2**2)
    return float((likeness / ((mean_p**2 + mean_q**2 + SSIM_K1**2) * (variances + SSIM_K2**2))).mean())


def _means(plane: _Plane, window: Window) -> _Plane:
    """Means over the windows that lie inside a plane."""
    if window == "uniform":
        side, found = UNIFORM_WINDOW, cv2.blur(plane, (UNIFORM_WINDOW, UNIFORM_WINDOW))
    else:
        side, found = SSIM_WINDOW, cv2.GaussianBlur(plane, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA)
    inside = slice(side // 2, -(side // 2))
    return found[inside, inside]


def luma(images: Tensor) -> Tensor:
    """Turn RGB images (B, 3, H, W) in [0, 1] into Y of BT.601, (B, 1, H, W)."""
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device).reshape(1, 3, 1, 1)
    return ((images * weights).sum(dim=1, keepdim=True) + 16) / 255


def _prepared(
    restored: Tensor, clean: Tensor, channel: Channel, rounded: bool, border: int, truncate: bool
) -> tuple[Tensor, Tensor]:
    for image in (restored, clean):
        if not isinstance(image, Tensor):
            raise TypeError(f"images to compare must be torch tensors, got {type(image).__name__}")
    if restored.shape != clean.shape:
        raise ValueError(f"images to compare must have one shape, got {tuple(restored.shape)} and {tuple(clean.shape)}")
    if 0 in restored.shape:
        raise ValueError(f"images must not be empty, got shape {tuple(restored.shape)}")
    if restored.ndim != 4:
        raise ValueError(f"images must have shape (B, C, H, W), got {tuple(restored.shape)}")
    if channel not in ("rgb", "y", "y-matlab"):
        raise ValueError(f"channel must be rgb, y or y-matlab, got '{channel}'")
    if channel != "rgb" and restored.shape[1] != 3:
        raise ValueError(f"the luma is that of three channels, got {restored.shape[1]}")
    if border < 0 or 2 * border >= min(restored.shape[-2:]):
        height, width = restored.shape[-2:]
        raise ValueError(f"a border of {border} pixels leaves nothing of an image of {height} x {width}")
    pair = [image.detach().float().cpu().clamp(0, 1) for image in (restored, clean)]
    if truncate:  # whole levels stay what they are
        pair = [torch.floor(255 * image + 1e-3) / 255 for image in pair]
    elif rounded:
        pair = [quantise(image) for image in pair]
    if channel != "rgb":
        pair = [luma(image) for image in pair]
        if channel == "y-matlab":
            pair = [(255 * image).round() / 255 for image in pair]
    inside = slice(border, -border if border else None)
    return pair[0][..., inside, inside], pair[1][..., inside, inside]
