"""Filters that anybody has at hand without a model.

A model that does no better than these does not earn its weights.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from rebridge.networks.holes import MIDDLE_GREY

Floats = np.ndarray
"""(H, W, 3), float32 in [0, 1]."""
Filter = Callable[[Floats], Floats]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class PlainFilter:
    """A filter and the tasks that somebody would try it on.

    Called as a restorer is: (1, C, H, W) in [0, 1] to the same, C = 1 or 3.
    """

    name: str
    filter: Filter
    tasks: Sequence[str]

    def __call__(self, degraded: Tensor, **options: object) -> Tensor:
        """Filter one picture; options of restorers are taken and not used."""
        channels = degraded.shape[1]
        picture = degraded[0].expand(3, -1, -1).permute(1, 2, 0).contiguous().float().numpy()
        filtered = np.clip(self.filter(picture), 0, 1).astype(np.float32)
        result = torch.from_numpy(np.ascontiguousarray(filtered)).permute(2, 0, 1)
        return (result if channels == 3 else result.mean(0, keepdim=True))[None].to(degraded.dtype)


def noise_level(picture: Floats) -> float:
    """Estimate the deviation of white noise in [0, 1].

    Immerkaer 1996: the mean absolute answer of a mask that is blind to straight edges.
    """
    grey = picture @ LUMA
    answer = np.abs(cv2.filter2D(grey, cv2.CV_32F, LAPLACIAN, borderType=cv2.BORDER_REFLECT))
    return float(math.sqrt(math.pi / 2) / 6 * answer.mean())


def stretch(picture: Floats) -> Floats:
    """Stretch so that the 1 % and 99 % quantiles of all values become 0 and 1."""
    low, high = np.quantile(picture, (0.01, 0.99))
    return (picture - low) / max(float(high - low), 1e-3)


def gamma(picture: Floats) -> Floats:
    """Raise to the power that makes the mean brightness one half."""
    mean = min(max(float((picture @ LUMA).mean()), 1e-3), 0.999)
    return np.asarray(picture ** (math.log(0.5) / math.log(mean)))


def dark_channel(picture: Floats, patch: int = 15, kept: float = 0.05, least: float = 0.1) -> Floats:
    """Dehaze by the dark channel prior (He, Sun and Tang 2011).

    The transmission is refined by a guided filter.

    Args:
        picture: (H, W, 3) in [0, 1].
        patch: side of the minimum filter in px.
        kept: share of the haze that is left.
        least: least transmission.
    """
    side = np.ones((patch, patch), np.uint8)
    dark = cv2.erode(picture.min(2), side)
    brightest = np.argsort(dark, axis=None)[-max(dark.size // 1000, 1) :]
    air = picture.reshape(-1, 3)[brightest].max(0).clip(0.05)
    through = 1 - (1 - kept) * cv2.erode((picture / air).min(2), side)
    through = guided_filter(picture @ LUMA, through, 2 * patch + 1, 1e-3).clip(least, 1)
    return (picture - air) / through[..., None] + air


def guided_filter(guide: Floats, values: Floats, window: int, eps: float) -> Floats:
    """Smooth `values` (H, W) where `guide` (H, W) is smooth (He, Sun and Tang 2010)."""

    def mean(image: Floats) -> Floats:
        return np.asarray(cv2.blur(image, (window, window), borderType=cv2.BORDER_REFLECT))

    centre, level = mean(guide), mean(values)
    slope = (mean(guide * values) - centre * level) / (mean(guide * guide) - centre * centre + eps)
    return mean(slope) * guide + mean(level - slope * centre)


def median(picture: Floats) -> Floats:
    """Take the median of 3 x 3 pixels."""
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(picture), 3))


def blind_non_local_means(picture: Floats) -> Floats:
    """Denoise by OpenCV's non-local means, as strong as the noise that is found."""
    strength = 255 * noise_level(picture)
    pixels = (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
    filtered = cv2.fastNlMeansDenoisingColored(pixels, None, strength, strength, 7, 21)
    return filtered.astype(np.float32) / 255


def blind_total_variation(picture: Floats, rounds: int = 60) -> Floats:
    """Denoise by total variation (Chambolle 2004), as strong as the noise."""
    weight = 1.5 * noise_level(picture)
    dual = np.zeros((2, *picture.shape), np.float32)
    if weight <= 0:
        return picture
    for _ in range(rounds):
        smooth = picture / weight + divergence(dual)
        step = np.zeros_like(dual)
        step[0, :-1], step[1, :, :-1] = np.diff(smooth, axis=0), np.diff(smooth, axis=1)
        size = np.sqrt((step**2).sum((0, -1), keepdims=True))
        dual = (dual + 0.125 * step) / (1 + 0.125 * size)
    return picture + weight * divergence(dual)


def divergence(field: np.ndarray) -> np.ndarray:
    """Compute the divergence (H, W, 3) of a field (2, H, W, 3).

    It is the negative adjoint of forward differences.
    """
    down, across = field[0].copy(), field[1].copy()
    down[1:] -= field[0, :-1]
    across[:, 1:] -= field[1, :, :-1]
    return np.asarray(down + across)


def unsharp(picture: Floats) -> Floats:
    """Sharpen by half of what a Gaussian of 1.5 px takes away."""
    return picture + 0.5 * (picture - cv2.GaussianBlur(picture, (0, 0), 1.5))


def telea(picture: Floats) -> Floats:
    """Fill middle-grey holes by OpenCV's inpainting (Telea 2004)."""
    missing = (np.abs(2 * picture - 1) <= MIDDLE_GREY).all(2).astype(np.uint8)
    pixels = (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
    return cv2.inpaint(pixels, missing, 3, cv2.INPAINT_TELEA).astype(np.float32) / 255


PLAIN_FILTERS = (
    PlainFilter("stretch", stretch, ("haze", "lowlight")),
    PlainFilter("gamma", gamma, ("lowlight",)),
    PlainFilter("dark channel", dark_channel, ("haze",)),
    PlainFilter("median", median, ("rain", "snow", "raindrop", "noise")),
    PlainFilter("non-local means", blind_non_local_means, ("noise", "jpeg", "lowlight")),
    PlainFilter("total variation", blind_total_variation, ("noise", "jpeg")),
    PlainFilter("unsharp", unsharp, ("blur", "sr2", "sr3", "sr4", "lowres")),
    PlainFilter("Telea", telea, ("inpaint",)),
)
"""All of them. For a task that none names, as for real pairs, every one is tried."""


def plain_filters_for(task: str) -> list[PlainFilter]:
    """List what somebody would try on a task."""
    named = [plain_filter for plain_filter in PLAIN_FILTERS if task in plain_filter.tasks]
    return named or list(PLAIN_FILTERS)
