"""Steps that samplers share: keep noise, add fresh noise, leave a pinned end."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.denoisers import Estimate
from rebridge.samplers.base import Point, Walk

Start = Literal["mean", "noise"]


def markov_std(t: Point, s: Point) -> float:
    """Compute the standard deviation of the Markov posterior p(x_s | x_t, x0).

    Its square is gamma_s^2 (1 - gamma_s^2 alpha_t^2 / (gamma_t^2 alpha_s^2)).
    """
    if t.gamma == 0 or s.alpha == 0:
        return s.gamma
    ratio = s.gamma * t.alpha / (t.gamma * s.alpha)
    return s.gamma * max(0.0, 1 - ratio**2) ** 0.5


def marginal_step(
    walk: Walk, x: Tensor, estimate: Estimate, t: Point, s: Point, *, kept: float, added: float = 0.0
) -> Tensor:
    """Step to s, keeping a share of the state's deviation from its mean.

    alpha_s x0_hat + beta_s y + kept (x_t - alpha_t x0_hat - beta_t y) + added * modulation_hat z.

    Args:
        walk: the run.
        x: the state at t, (B, ...).
        estimate: the clean estimate at t.
        t: where the step begins.
        s: where it ends.
        kept: the share of the deviation that goes on; sqrt(gamma_s^2 - added^2)/gamma_t preserves the marginal.
        added: standard deviation of fresh noise.
    """
    x0 = estimate.x0
    if estimate.noise is None:
        x_s = (s.alpha - kept * t.alpha) * x0
        x_s = x_s.add_(walk.y, alpha=s.beta - kept * t.beta)
        if kept != 0:
            x_s = x_s.add_(x, alpha=kept)
    else:
        x_s = s.alpha * x0 + s.beta * walk.y + (kept * t.gamma) * estimate.noise
    if added != 0:
        x_s = x_s.add_(walk.bridge.modulate(x0, walk.y, walk.noise()), alpha=added)
    return x_s


def is_singular(bridge: Bridge, t: Point) -> bool:
    """Test if t is the pinned end of a noisy bridge.

    There gamma = 0, and the noise estimate is undefined.
    """
    return t.gamma == 0 and t.t > 0 and not bridge.noiseless


def at_pinned_end(bridge: Bridge, t: Point) -> bool:
    """Test if t is where a noisy bridge starts in y, a state without its noise."""
    return t.t == 1 and bridge.pinned


def leave_end(walk: Walk, x: Tensor, t: Point, s: Point, start: Start | None) -> Tensor:
    """Take the first step from a pinned end.

    alpha_s x0_hat + beta_s y, plus gamma_s modulation_hat z if start (by default the bridge's) is "noise".
    """
    estimate = walk.estimate(x, t)
    added = s.gamma if (start or walk.bridge.start) == "noise" and not s.last else 0.0
    return marginal_step(walk, x, Estimate(estimate.x0), t, s, kept=0.0, added=added)


def kept_share(bridge: Bridge, t: Point, s: Point, added: float = 0.0) -> float:
    """Compute the share that `marginal_step` keeps to preserve the marginal at s.

    Without noise the state lies on the line from x0_hat to an end point of its own, and the share is beta_s / beta_t.

    Args:
        bridge: the process.
        t: where the step begins.
        s: where it ends.
        added: standard deviation of the fresh noise of the step.
    """
    if t.gamma > 0:
        return max(0.0, s.gamma**2 - added**2) ** 0.5 / t.gamma
    return s.beta / t.beta if bridge.noiseless and t.beta > 0 else 0.0


def check_start(start: str | None) -> None:
    """Raise ValueError unless start is None, "mean" or "noise"."""
    if start not in (None, "mean", "noise"):
        raise ValueError(f"start must be mean or noise, got {start!r}")
