"""The sampler of FoD: the distance to the estimate shrinks by a random factor.

With Th and S, decay and variance of the logarithm of a log-normal factor (`Bridge.log_factor`), a step of the Markov chain with
the estimate held fixed is exact:

    x_s = x0_hat + (x_t - x0_hat) exp(-(dTh + dS/2) + sqrt(dS) z)

Euler-Maruyama's step is x_s = x0_hat + (x_t - x0_hat) (1 - dTh + sqrt(dS) z). Both leave alone what the estimate leaves alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.samplers.base import Point, Sampler, Walk


@dataclass(frozen=True, kw_only=True)
class Multiplicative(Sampler):
    """The Markov chain of FoD, with multiplicative noise (arXiv 2505.16733).

    Noise is multiplied by the distance to the estimate, whatever the bridge's modulation is.

    Args:
        method: "markov" (exact for a fixed estimate, "MC" in the authors' code) or "euler" (Euler-Maruyama, "EM").
        steps: number of steps of the default grid, at least 1.
        grid: "uniform", "quadratic", "cosine" or "karras".
    """

    name: ClassVar[str] = "multiplicative"

    method: Literal["markov", "euler"] = "markov"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in ("markov", "euler"):
            raise ValueError(f"method must be markov or euler, got {self.method!r}")

    def check(self, bridge: Bridge) -> None:
        super().check(bridge)
        c = bridge.coefficients(torch.linspace(0, 1, 11, dtype=torch.float64))
        if not torch.allclose(c.alpha + c.beta, torch.ones_like(c.alpha)) or bridge.generative:
            raise ValueError(
                f"sampler 'multiplicative' needs alpha + beta = 1 at all times; {bridge.name!r} differs: use dbim"
            )

    def plan(self, bridge: Bridge, points: list[Point]) -> dict[Point, Any]:
        """Compute what decay and log-variance of the factor gain in each step."""
        theta, square = bridge.log_factor(torch.tensor([point.t for point in points], dtype=torch.float64))
        gains = zip(theta.diff().tolist(), square.diff().clamp(min=0.0).tolist(), strict=True)
        return dict(zip(points[:-1], gains, strict=True))

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        x0 = walk.estimate(x, t).x0
        decay, variance = self.planned(walk, t, s)
        if math.isinf(decay):
            return x0
        z = walk.noise() if variance > 0 else torch.zeros_like(x)
        if self.method == "euler":
            return (variance**0.5 * z).add_(1 - decay).mul_(x - x0).add_(x0)
        return (variance**0.5 * z).sub_(decay + variance / 2).exp_().mul_(x - x0).add_(x0)
