"""Removal of noise by a prior: a noisy image is a state of its process.

An image y with noise of standard deviation s, in the process's units, scaled is the state at the time with as much noise:

    x_t = alpha(t) y,   gamma(t) / alpha(t) = s

So the denoising variant of IR-SDE (arXiv 2301.11699) restores, and any prior can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.bridges.tabulated import inverse
from rebridge.samplers.base import Walk
from rebridge.samplers.dbim import DBIM


@dataclass(frozen=True, kw_only=True)
class NoiseRemoval(DBIM):
    """Removal of white noise by a prior, from the time that has as much noise.

    Args:
        sigma: standard deviation of the noise, in units of 8-bit images, such as 25; other parameters as those of `dbim`.
    """

    name: ClassVar[str] = "denoise"
    walks_prior: ClassVar[bool] = True

    sigma: float = 25.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sigma > 0:
            raise ValueError(f"sigma must be positive, got {self.sigma}")

    def times(self, bridge: Bridge) -> Tensor:
        """Compute the named grid, shortened to begin where the noise is the image's.

        More noise than the process has counts as its end.
        """
        low, high = bridge.value_range
        fine = torch.linspace(0, 1, 10_001, dtype=torch.float64)
        c = bridge.coefficients(fine)
        share = torch.atan2(c.gamma, c.alpha)  # grows with gamma / alpha, also where alpha is 0
        level = torch.tensor(self.sigma / 255 * (high - low), dtype=torch.float64)
        first = inverse(fine, torch.cummax(share, 0).values, torch.atan(level)).item()
        return max(first, 1e-4) * super().times(bridge)

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        """Scale y to a state of the first time, unless a state is given."""
        if x is None:
            x = walk.bridge.coefficients(times[0]).alpha.item() * walk.y
        return x, times
