"""Clean photographs from those that data sets store.

Without traces of JPEG, as sharp or soft as users' pictures are.

A network that is given stored JPEG files as clean learns that blocks of 8 pixels mean clean, and that all others are ill.
Reduced pictures have no blocks; what looks sound keeps a trace of JPEG now and then, and so does what is degraded.
"""

import math
from dataclasses import dataclass

import cv2
import torch
from torch import Tensor

from rebridge.degradations.base import Draw, Range, as_range, check_number
from rebridge.degradations.compression import through_jpeg
from rebridge.degradations.softness import resize


def muted(image: Tensor, draw: Draw) -> Tensor:
    """Take colour from (C, H, W) in [0, 1], and leave it about as bright.

    Photographs are grey, toned and faded too.
    """
    weights = torch.tensor((0.299, 0.587, 0.114) if draw.uniform((0, 1)) < 0.5 else (1.0, 1.0, 1.0))
    grey = (weights / weights.sum()).view(-1, 1, 1).mul(image).sum(0, keepdim=True)
    chance = draw.uniform((0, 1))
    if chance < 0.25:
        return grey.expand_as(image)
    if chance < 0.4:
        return toned(grey, draw.uniform((0.05, 0.35)))
    return grey + draw.uniform((0.05, 0.8)) * (image - grey)


def toned(grey: Tensor, warm: float) -> Tensor:
    """Tone a grey picture (1, H, W) in [0, 1] as old photographs are, (3, H, W).

    warm: how much, in [0, 1]; at 0 it stays grey.
    """
    powers = torch.tensor((1 - 0.5 * warm, 1.0, 1 + warm)).view(-1, 1, 1)
    return grey**powers * torch.tensor((1.0, 1 - 0.2 * warm, 1 - 0.6 * warm)).view(-1, 1, 1)


def sharpen(image: Tensor, amount: float, sigma: float) -> Tensor:
    """Add `amount` times what a Gaussian of `sigma` px removes of (C, H, W).

    Returns values in [0, 1].
    """
    blurred = torch.stack([torch.from_numpy(cv2.GaussianBlur(plane.numpy(), (0, 0), sigma)) for plane in image])
    return (image + amount * (image - blurred)).clamp(0, 1)


@dataclass(frozen=True)
class Preparation:
    """Ranges by which a stored picture becomes a clean patch.

    It is reduced by a random factor, sharpened or saved as JPEG now and then.
    """

    reduction: Range = (0.4, 0.85)
    """Size of the result relative to what is stored, above 0, at most 1."""
    sharpened: float = 0.15
    """Probability of sharpening, in [0, 1]."""
    jpeg: float = 0.3
    """Probability of JPEG, in [0, 1]."""
    quality: Range = (72.0, 98.0)
    """Quality of that, high enough to be sound, in [1, 100]."""
    tone: float = 0.15
    """Probability of a gentle tone curve: sound pictures are pale, dark and contrasty too; in [0, 1]."""
    muted: float = 0.0
    """Probability of fewer colours, which photographs of before and of bad weather have too; in [0, 1]."""

    def __post_init__(self) -> None:
        low, high = as_range("reduction", self.reduction)
        if not 0 < low <= high <= 1:
            raise ValueError(f"reduction must lie in (0, 1] with low <= high, got ({low:g}, {high:g})")
        for name in ("sharpened", "jpeg", "tone", "muted"):
            check_number(name, getattr(self, name), 0, 1)

    def patch(self, stored: Tensor, size: int, draw: Draw) -> Tensor:
        """Draw a clean patch without JPEG, (C, size, size) in [0, 1].

        Args:
            stored: a picture, (C, H, W), uint8 or float32 in [0, 1]; one too small is reduced less, then mirrored.
            size: side of the patch in px.
            draw: random numbers.
        """
        height, width = stored.shape[-2:]
        low, high = as_range("reduction", self.reduction)
        least = size / min(height, width)
        factor = draw.uniform((min(max(low, least), 1.0), max(high, min(least, 1.0))))
        rows, columns = (min(math.ceil(size / factor), side) for side in (height, width))
        top, left = draw.integer(0, height - rows), draw.integer(0, width - columns)
        window = stored[:, top : top + rows, left : left + columns]
        image = window.float() / 255 if window.dtype == torch.uint8 else window
        goal = (max(round(rows * factor), 1), max(round(columns * factor), 1))
        if goal != (rows, columns):
            image = resize(image, *goal, cv2.INTER_AREA).clamp(0, 1)
        if draw.uniform((0, 1)) < self.sharpened:
            image = sharpen(image, draw.uniform((0.2, 1.0)), draw.uniform((0.6, 1.5)))
        if draw.uniform((0, 1)) < self.tone:
            image = draw.uniform((0.85, 1.0)) * image ** draw.uniform((0.75, 1.35))
        if self.muted > 0 and draw.uniform((0, 1)) < self.muted:
            image = muted(image, draw)
        return _mirrored(image, size)

    def saved(self, image: Tensor, draw: Draw) -> Tensor:
        """Save a picture (C, H, W) as a good JPEG, or leave it as it is."""
        if draw.uniform((0, 1)) >= self.jpeg:
            return image
        return through_jpeg(image, round(draw.uniform(self.quality)))


def _mirrored(image: Tensor, size: int) -> Tensor:
    for dim in (1, 2):
        present = image.shape[dim]
        period = max(2 * (present - 1), 1)
        place = torch.arange(size) % period
        image = image.index_select(dim, torch.minimum(place, (period - place).clamp(min=0)).clamp(max=present - 1))
    return image.contiguous()
