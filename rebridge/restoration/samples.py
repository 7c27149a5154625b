"""Several restorations of one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rebridge.restoration.engine import Gathered


@dataclass(frozen=True)
class Samples:
    """Several restorations of one image.

    Attributes:
        mean: of the type that was passed in; a tensor (B, C, H, W) in [0, 1] for a measurement.
        std: float32 (B, C, H, W) in units of [0, 1], how far the samples differ at each pixel: large where the model guesses.
        all: each sample, of the type of `mean`.
        calls: evaluations of the network for each image, all samples together.
    """

    mean: Any
    std: Tensor
    all: list[Any]
    calls: int = 0

    @classmethod
    def of(cls, found: Gathered, back: Callable[[Tensor], Any], calls: int) -> Samples:
        """Make samples of what a run gathered.

        back: turns tensors into what was passed in.
        """
        return cls(back(found.mean), found.std, [back(sample) for sample in found.kept], calls)

    @property
    def samples(self) -> Tensor:
        """All samples of a measurement or of tensors as one tensor (K, B, C, H, W)."""
        return torch.stack(self.all)
