"""Consistency sampling on bridges: a fresh state around every estimate.

    x_s = alpha_s x0_hat + beta_s y + gamma_s modulation_hat z

It keeps nothing of the noise in the state, whereas `dbim` with eta = 1 keeps what the Markov posterior keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rebridge.denoisers import Estimate
from rebridge.samplers.base import Point, Sampler, Walk
from rebridge.samplers.steps import marginal_step


@dataclass(frozen=True, kw_only=True)
class Resample(Sampler):
    """The multistep sampler of consistency models (arXiv 2303.01469) on bridges.

    The last step gives the estimate itself, without noise.
    """

    name: ClassVar[str] = "resample"

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        estimate = Estimate(walk.estimate(x, t).x0)
        added = 0.0 if s.last or walk.bridge.noiseless else s.gamma
        return marginal_step(walk, x, estimate, t, s, kept=0.0, added=added)
