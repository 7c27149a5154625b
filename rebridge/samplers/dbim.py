"""Diffusion bridge implicit models (arXiv 2405.15885), orders 1 to 3.

Any mixture of deterministic and fresh noise. `rebridge/samplers/base.py` begins with a run of order 1 in twelve lines.

Order 1:  x_s = alpha_s x0_hat + beta_s y + sqrt(gamma_s^2 - eta_s^2) n + eta_s modulation_hat z, with eta_s = eta times the
noise of the Markov posterior. eta = 0 is the deterministic step (RDBM's, DDIM's), eta = 1 the Markov posterior (DDPM's).
Orders 2 and 3 (deterministic) integrate x0_hat as a polynomial in l = log(alpha/gamma), with h = l_s - l_t:

    x_s = (gamma_s/gamma_t) x_t + (beta_s - beta_t gamma_s/gamma_t) y
          + alpha_s [(1 - e^-h) x0_hat + (e^-h + h - 1) D1 + (h^2/2 - h + 1 - e^-h) D2]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.samplers.base import Point, Sampler, Walk
from rebridge.samplers.steps import (
    Start,
    at_pinned_end,
    check_start,
    is_singular,
    kept_share,
    leave_end,
    marginal_step,
    markov_std,
)
from rebridge.samplers.texture import raised, texture_share


@dataclass(frozen=True, kw_only=True)
class DBIM(Sampler):
    """The general sampler of bridges, DBIM (arXiv 2405.15885).

    The last step adds no noise. If the grid begins below t = 1 on a pinned bridge, a first estimate is made at t = 1.

    Args:
        eta: share of fresh noise, in [0, 1]; 1 is the posterior, by Bayes or, for I2SB, RDDM, DiffUIR and ResShift, their own.
        order: 1, 2 or 3; 2 and 3 need eta = 0 and a bridge with noise. They build up their history from a step of order 1, so a
            whole run of order 3 converges with an order between 2 and 3.
        start: how to leave an end that is y, "mean" or "noise"; by default the bridge's way ("mean" for rdbm, else "noise"), and
            with eta 1 the posterior where the bridge has noise left there.
        compat: scale the added noise by eta but keep no more of the old one for it, as BBDM's code does; that loses variance
            for eta < 1 and gives I2SB's OT-ODE (the posterior mean) for eta = 0.
        texture: share, in [0, 1], of what the walk adds to its first estimate; 0 is the first estimate itself, the mean of all
            that the image may be, 1 the sample that the walk ends in. Its square is the error added (derived).
        smooth: standard deviation, in the units of the state (in [-1, 1]: 0.03 is 4 of 255), of the first estimate over
            7 x 7 pixels at which half of that share is kept; less where it is smoother, so that what a walk invents shows in
            texture and not as grain on skin or sky. 0 keeps the same share everywhere.
        contrast: greatest factor, at least 1, by which detail of the first estimate is raised where the walk's is stronger
            (`rebridge.samplers.texture.raised`); it costs little, as it invents nothing. 1 leaves it.
        steps: number of steps of the default grid, at least 1.
        grid: "uniform", "quadratic", "cosine", "karras" or "log-snr".
    """

    name: ClassVar[str] = "dbim"

    eta: float = 0.0
    order: int = 1
    start: Start | None = None
    compat: bool = False
    texture: float = 1.0
    smooth: float = 0.0
    contrast: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_start(self.start)
        if not 0 <= self.texture <= 1:
            raise ValueError(f"texture must lie in [0, 1], got {self.texture}")
        if self.smooth < 0:
            raise ValueError(f"smooth must be at least 0, got {self.smooth}")
        if not self.contrast >= 1:
            raise ValueError(f"contrast must be at least 1, got {self.contrast}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")
        if self.order not in (1, 2, 3):
            raise ValueError(f"order must be 1, 2 or 3, got {self.order}")
        if self.order > 1 and self.eta > 0:
            raise ValueError(f"order {self.order} is deterministic: eta must be 0, got {self.eta}")

    def check(self, bridge: Bridge) -> None:
        super().check(bridge)
        if self.order > 1 and bridge.noiseless:
            raise ValueError(
                f"dbim of order {self.order} needs a bridge with noise; {bridge.name!r} here has gamma = 0"
            )

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        return begin_pinned(self, walk, x, times)

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        x_s = self._step(walk, x, t, s)
        if self.texture == 1 and self.smooth == 0 and self.contrast == 1:
            return x_s
        walk.first = walk.history[-1][1] if walk.first is None else walk.first
        if not s.last:
            return x_s
        share = self.texture * texture_share(walk.first, self.smooth) if self.smooth else self.texture
        mixed = torch.lerp(walk.first, x_s, share)
        return mixed if self.contrast == 1 else mixed + raised(walk.first, x_s, self.contrast)

    def _step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        posterior = self.compat or (self.eta == 1 and self.start is None)
        if is_singular(walk.bridge, t) or (at_pinned_end(walk.bridge, t) and not posterior):
            return leave_end(walk, x, t, s, "noise" if self.order > 1 and self.start is None else self.start)
        estimate = walk.estimate(x, t)
        if self.order > 1 and t.alpha > 0 and s.gamma > 0 and not s.last and estimate.noise is None:
            return exponential_step(walk, x, t, s, self.order)
        own = walk.bridge.reverse_kernel(t.t, s.t) if self.eta > 0 or self.compat else None
        if own is not None and estimate.noise is None and (self.compat or self.eta == 1):
            return posterior_step(walk, x, estimate.x0, own, 0.0 if s.last else self.eta)
        full = markov_std(t, s) if own is None else own[3]
        added = self.eta * full
        kept = kept_share(walk.bridge, t, s, full if self.compat else added)
        return marginal_step(walk, x, estimate, t, s, kept=kept, added=0.0 if s.last else added)


def posterior_step(walk: Walk, x: Tensor, x0: Tensor, own: tuple[float, float, float, float], eta: float) -> Tensor:
    """Draw from the posterior that a bridge gives itself, its noise times eta."""
    on_x0, on_y, on_x, std = own
    x_s = (on_x0 * x0).add_(walk.y, alpha=on_y).add_(x, alpha=on_x)
    return x_s.add_(walk.bridge.modulate(x0, walk.y, walk.noise()), alpha=eta * std) if eta else x_s


def begin_pinned(sampler: Sampler, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
    """Start a pinned bridge at t = 1 even if the grid begins later.

    Only there its state is known without x0.
    """
    if x is None and times[0] < 1 and walk.bridge.pinned:
        times = torch.cat([times.new_ones(1), times])
    return Sampler.begin(sampler, walk, x, times)


def exponential_step(walk: Walk, x: Tensor, t: Point, s: Point, order: int) -> Tensor:
    """Take the deterministic step of an order, or lower while the history is short.

    The estimate at an end that is y is no part of it: the walk leaves it by a draw, and begins there.
    """
    known = [(p, x0) for p, x0 in walk.history if p.gamma > 0 and p.alpha > 0 and not at_pinned_end(walk.bridge, p)][
        -order:
    ]
    h = _log_snr(s) - _log_snr(t)
    decay = math.exp(-h)
    ratio = s.gamma / t.gamma
    x0 = known[-1][1] if known else walk.history[-1][1]
    x_s = ratio * x + (s.beta - ratio * t.beta) * walk.y + (s.alpha * (1 - decay)) * x0
    if len(known) < 2:
        return x_s
    h1 = _log_snr(t) - _log_snr(known[-2][0])
    slope = (x0 - known[-2][1]) / h1
    if len(known) == 3:
        h2 = _log_snr(known[-2][0]) - _log_snr(known[-3][0])
        bend = (slope - (known[-2][1] - known[-3][1]) / h2) / (h1 + h2)
        slope = slope + h1 * bend
        x_s = x_s + (s.alpha * (h * h / 2 - h + 1 - decay)) * (2 * bend)
    return x_s + (s.alpha * (decay + h - 1)) * slope


def _log_snr(p: Point) -> float:
    return math.log(p.alpha / p.gamma)
