"""Noise with one generator per image.

So a result depends on the image and the seed, never on the batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class ImageNoise:
    """A source of noise for samplers: N(0, 1) of the shape of a tensor (B, ...).

    Row b is drawn from a generator of its own, seeded with (seeds[b], sample), always on the CPU in float32: the same
    seed gives the same picture in a batch of one or of ten, and on every device.

    Args:
        seeds: integers from 0 up, one per image.
        sample: which of several samples of the same image is drawn.
    """

    def __init__(self, seeds: Sequence[int], sample: int = 0) -> None:
        self.generators = [torch.Generator().manual_seed(mixed(seed, sample)) for seed in seeds]

    def __call__(self, like: Tensor) -> Tensor:
        if like.shape[0] != len(self.generators):
            raise ValueError(
                f"there are seeds for {len(self.generators)} images, and noise for {like.shape[0]} was requested"
            )
        rows = [torch.randn(like.shape[1:], generator=generator) for generator in self.generators]
        drawn = torch.stack(rows)
        if like.device.type == "cuda":  # from such memory it is copied while this process goes on
            drawn = drawn.pin_memory()
        return drawn.to(like.device, like.dtype, non_blocking=True)

    def split(self) -> "list[ImageNoise]":
        """The source of each row by itself; it goes on where this one stands."""
        found = [ImageNoise([]) for _ in self.generators]
        for one, generator in zip(found, self.generators, strict=True):
            one.generators = [generator]
        return found


def mixed(seed: int, sample: int) -> int:
    """Mix (seed, sample) into a generator seed that differs from all neighbours'.

    Raises:
        ValueError: a negative seed.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer from 0 up, got {seed!r}")
    return int(np.random.SeedSequence([seed, sample]).generate_state(1, np.uint64)[0] >> np.uint64(1))
