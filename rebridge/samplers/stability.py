"""Runs that leave the images behind: long steps where a process is steep."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.samplers.base import Sampler, remembered

LARGEST_SOUND = 3.0
"""Largest value of a sound result, in units of the largest value of the bridge's images."""


@remembered
def largest_value(sampler: Sampler, bridge: Bridge) -> float:
    """Compute the largest value that a run ends with if every estimate is one image.

    A sound sampler ends near that image. Euler's steps are safe or not by a hair, so half as many steps again are tried too.

    Args:
        sampler: its time grid is taken.
        bridge: the process.

    Returns:
        The value over the largest of the range; infinite for NaN.
    """
    y = torch.linspace(*bridge.value_range, 64, dtype=torch.float64).unsqueeze(0)
    x0 = y.flip(1)

    def known(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return x0

    found = 0.0
    for tried in (sampler, replace(sampler, steps=sampler.steps + max(1, sampler.steps // 2))):
        generator = torch.Generator().manual_seed(0)
        end = tried(bridge, known, y, times=tried.times(bridge), generator=generator)
        found = max(found, end.nan_to_num(torch.inf, torch.inf, torch.inf).abs().max().item())
    return found / max(map(abs, bridge.value_range))
