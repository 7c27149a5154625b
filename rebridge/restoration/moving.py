"""Restore moving pictures with one noise field, steady where nothing moves.

Each frame is restored with the same seed, so that all share one noise field, and with what was found in the clip as a whole.
Where the restored frame hardly differs from the one before, the two are averaged, which is a recursive filter over time:

    r_t <- r_t + w (r_{t-1} - r_t),    w = steady exp(-(d / MOVEMENT)^2),    d = |blur(r_t - r_{t-1})|

Moving edges have a large d and stay as they are. Derived; motion-adaptive temporal filtering is as old as digital television.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rebridge.images import Image

MOVEMENT = 8 / 255
"""Difference of two frames, after blurring, that counts as movement."""
BLUR = 5
"""Side in pixels of the square that differences are averaged over."""
LARGEST_SHARE = 0.8
"""Of the frame before, at steady=1: some of what is new always comes through."""


def steadied(frame: Tensor, before: Tensor, steady: float) -> Tensor:
    """Average a frame (C, H, W) with the one before where nothing moves."""
    difference = (frame - before).mean(0, keepdim=True)[None]
    blurred = avg_pool2d(difference, BLUR, 1, BLUR // 2, count_include_pad=False)[0].abs()
    weight = LARGEST_SHARE * steady * torch.exp(-((blurred / MOVEMENT) ** 2))
    return frame + weight * (before - frame)


class Flicker:
    """The mean difference of neighbouring frames, in 8-bit levels."""

    def __init__(self) -> None:
        self._last: Tensor | None = None
        self._total, self._count = 0.0, 0

    def add(self, frame: Tensor) -> None:
        """Take in the next frame (C, H, W) in [0, 1]."""
        if self._last is not None:
            self._total += 255 * (frame - self._last).abs().mean().item()
            self._count += 1
        self._last = frame

    @property
    def mean(self) -> float:
        """The mean over all pairs of neighbouring frames, 0 for a single frame."""
        return self._total / max(self._count, 1)


def restore_frames(
    frames: Iterator[Image], restore: Callable[[Image], Image], steady: float = 0.5
) -> Iterator[tuple[Image, Image]]:
    """Restore frames one after the other.

    Args:
        frames: of one size.
        restore: makes the restored frame of one; the same seed for all.
        steady: 0 to 1, how much still places are averaged over time; 0 for frame by frame.

    Yields:
        Each frame with the restored one.
    """
    last: Tensor | None = None
    for frame in frames:
        found = restore(frame)
        if last is not None and steady > 0:
            found = found.with_pixels(steadied(found.pixels, last, steady))
        last = found.pixels
        yield frame, found
