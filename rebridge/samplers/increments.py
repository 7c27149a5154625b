"""Samplers of RDDM, DiffUIR and ResShift, whose noise grows whatever x0 does.

`increments`: the state moves by what the coefficients change.

    x_s = x_t + (alpha_s - alpha_t) x0_hat + (beta_s - beta_t) y + (gamma_s - gamma_t) n

Where n is the noise that x0_hat implies, this is the deterministic step of `dbim`. It differs where the network predicts the
noise too (RDDM's second head: the state need not agree with both), and where the noise is left as it is: DiffUIR drops the last
term, so that the noise of the start stays in every state but the last, which is x0_hat.

`residual-posterior`: the posterior of a noise that is added step by step whatever alpha does, with k = gamma_s^2/gamma_t^2

    x_s = alpha_s x0_hat + beta_s y + k (x_t - alpha_t x0_hat - beta_t y) + gamma_s sqrt(1 - k) z
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.samplers.base import Point, Sampler, Walk
from rebridge.samplers.steps import at_pinned_end, is_singular, kept_share, leave_end, marginal_step


@dataclass(frozen=True, kw_only=True)
class Increments(Sampler):
    """Steps by the change of the coefficients, from y with noise.

    Args:
        hold: Leave the noise of the start in the state, as DiffUIR's released code does (arXiv 2403.11157); otherwise
            it shrinks with gamma, as in RDDM's (arXiv 2308.13712).
        start_noise: Standard deviation of the noise at t = 1; None for the bridge's. DiffUIR starts from 0.1.
        steps: Number of steps.
        grid: Name of the time grid.
    """

    name: ClassVar[str] = "increments"

    hold: bool = False
    start_noise: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_noise is not None and not self.start_noise >= 0:
            raise ValueError(f"start_noise must not be negative, got {self.start_noise}")

    def check(self, bridge: Bridge) -> None:
        super().check(bridge)
        if bridge.modulation == "residual" and self.start_noise:
            raise ValueError(
                f"start_noise is not for {bridge.name!r} with modulation residual, which has none at t = 1"
            )

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        if x is not None or self.start_noise is None:
            return super().begin(walk, x, times)
        c = walk.bridge.coefficients(1.0)
        return (c.alpha + c.beta).item() * walk.y + self.start_noise * walk.noise(), times

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        estimate = walk.estimate(x, t)
        x0 = estimate.x0
        if s.t == 0 and (self.hold or estimate.noise is None):
            return x0
        x_s = (x + (s.alpha - t.alpha) * x0).add_(walk.y, alpha=s.beta - t.beta)
        if self.hold or walk.bridge.noiseless or t.gamma == 0:
            return x_s
        noise = (x - t.alpha * x0 - t.beta * walk.y) / t.gamma if estimate.noise is None else estimate.noise
        return x_s.add_(noise, alpha=s.gamma - t.gamma)


@dataclass(frozen=True, kw_only=True)
class ResidualPosterior(Sampler):
    """The posterior of ResShift (arXiv 2307.12348) and RDDM (arXiv 2308.13712).

    It is not the one that follows from the marginals of a Markov process. On their own bridges `dbim` with eta 1 is the same.

    Args:
        eta: Share of the posterior's variance that is drawn afresh, in [0, 1]; 0 is the deterministic step of `dbim`.
        steps: Number of steps.
        grid: Name of the time grid.
    """

    name: ClassVar[str] = "residual-posterior"

    eta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        if is_singular(walk.bridge, t) or (at_pinned_end(walk.bridge, t) and self.eta < 1):
            return leave_end(walk, x, t, s, None)
        estimate = walk.estimate(x, t)
        k = (s.gamma / t.gamma) ** 2 if t.gamma > 0 else 0.0
        added = 0.0 if walk.bridge.noiseless else s.gamma * max(0.0, self.eta * (1 - k)) ** 0.5
        kept = kept_share(walk.bridge, t, s, added)
        return marginal_step(walk, x, estimate, t, s, kept=kept, added=0.0 if s.last else added)
