"""The transition equation: carrying a state of one process into the state space of another that has the same clean image.

    x = f x0 + b y + s e   (source)      z = F x0 + B y + S e'   (target)
    z = A x + (F - A f) x0 + (B - A b) y + sigma eps,      A = sqrt((S^2 - sigma^2) / s^2)

has the target's marginal for every sigma in [0, S] (IRBridge, arXiv 2505.24406, eq. 7). Two members stand out. With the
noise-to-signal ratio n = s/f, the clock in which all processes are one: towards more noise (S/F >= n), the smallest sigma
that needs no knowledge of x0 is sqrt(S^2 - (F n)^2), and A = F/f; towards less noise, sigma = 0 and x0 enters with a weight
F - A f >= 0. Where both ratios are equal, at the *critical time*, both are one affine map: neither noise nor x0 enters.

Times are continuous. A prior trained at T discrete times holds index j at t = (j + 1)/T; `grid_time` rounds up to those.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from rebridge.bridges import Bridge, Coefficients
from rebridge.bridges.diffusion import VE, VP, RectifiedFlow
from rebridge.bridges.ou import IRSDE
from rebridge.samplers.base import Point, markov_std
from rebridge.tables import inverse

ROUNDING = 1e-12
"""Relative difference of two squared noise levels that counts as none: rounding of float64 times leaves about 1e-15."""

Time = Tensor | float


@dataclass(frozen=True)
class Transition:
    """z = a x + b x0 + c y + sigma eps; four float64 tensors of one shape, that of the times, () or (B,)."""

    a: Tensor
    b: Tensor
    c: Tensor
    sigma: Tensor

    def __call__(self, x: Tensor, y: Tensor, x0: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """The target's state; x, y, x0 and noise are (B, ...).

        Raises ValueError where the transition needs x0 or noise that is not given.
        """
        a, b, c, sigma = (value.to(x.device, x.dtype).reshape(-1, *[1] * (x.ndim - 1)) for value in self._parts)
        z = a * x + c * y
        for name, part, factor in (("x0", x0, b), ("noise", noise, sigma)):
            if part is not None:
                z = z + factor * part
            elif bool((factor != 0).any()):
                raise ValueError(f"this transition needs {name}: its factor is up to {factor.abs().max().item():g}")
        return z

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.a, self.b, self.c, self.sigma


# -- the equation, on coefficients -------------------------------------------------------------------------------------


def sigma_range(source: Coefficients, target: Coefficients) -> tuple[Tensor, Tensor]:
    """The standard deviations of fresh noise for which A >= 0 and F - A f >= 0: sqrt(max(0, S^2 - (F s/f)^2)) and S."""
    known = target.alpha * source.gamma / source.alpha
    missing = target.gamma.square() - known.square()
    missing = torch.where(missing > ROUNDING * target.gamma.square(), missing, 0.0)
    return missing.sqrt(), target.gamma


def transition(source: Coefficients, target: Coefficients, sigma: Time, negative: bool = False) -> Transition:
    """The general transition with fresh noise of standard deviation `sigma`, float or of the coefficients' shape.

    negative: allow a negative weight of x0; the marginal is right all the same, only x0 is then subtracted (derived).
    Raises ValueError where sigma is outside its range, or the source has no noise to scale.
    """
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    lowest, highest = sigma_range(source, target)
    lowest = torch.zeros_like(lowest) if negative else lowest
    slack = 1e-9 * highest
    if bool(((sigma < lowest - slack) | (sigma > highest + slack)).any()):
        raise ValueError(
            f"sigma must lie between {lowest.max().item():.6g} and {highest.min().item():.6g}, got {_shown(sigma)}"
        )
    if bool((source.gamma == 0).any()):
        raise ValueError("a state without noise cannot be carried over by scaling its noise: choose a later time")
    a = (target.gamma.square() - sigma.square()).clamp(min=0.0).sqrt() / source.gamma
    return Transition(a, target.alpha - a * source.alpha, target.beta - a * source.beta, sigma.expand_as(a))


def least_noise(source: Coefficients, target: Coefficients) -> Transition:
    """Towards more noise: z = (F/f)(x - b y) + B y + sigma eps with the smallest sigma; x0 does not enter.

    Also where the source has no noise at all. Raises ValueError where the target has less noise, or f = 0.
    """
    if bool((source.alpha == 0).any()):
        raise ValueError("the state holds nothing of the clean image (alpha = 0): choose an earlier time of the bridge")
    sigma, _ = sigma_range(source, target)
    known = target.alpha * source.gamma / source.alpha
    if bool((known.square() > (1 + 1e-9) * target.gamma.square()).any()):
        raise ValueError("the target has less noise than the source: without x0 there is no way to remove it")
    a = target.alpha / source.alpha
    return Transition(a, torch.zeros_like(a), target.beta - a * source.beta, sigma)


# -- times ---------------------------------------------------------------------------------------------------------------


def check_process(process: Bridge) -> None:
    """Raise ValueError unless the process has noise, and noise that does not depend on the image."""
    if process.modulation == "residual":
        raise ValueError(
            f"bridge {process.name!r} here multiplies its noise by the residual, which no generative prior does; "
            f"create it with modulation='one'"
        )
    if process.noiseless:
        raise ValueError(f"bridge {process.name!r} here has no noise, so no time of a generative prior fits it")


def noise_level(process: Bridge, t: Time) -> Tensor:
    """n = gamma/alpha, the noise-to-signal ratio at times t, float64; infinite where alpha is 0."""
    c = process.coefficients(t)
    return torch.where(c.alpha > 0, c.gamma / c.alpha.clamp(min=torch.finfo(torch.float64).tiny), torch.inf)


def noisiest_time(process: Bridge) -> float:
    """The time of the largest noise-to-signal ratio: 1, or earlier on a process that loses its noise before its image."""
    if noise_level(process, 1.0).item() > 0:
        return 1.0
    times = 1 - torch.logspace(0, -15, 3001, dtype=torch.float64)
    return times[noise_level(process, times).argmax()].item()


@lru_cache(maxsize=64)
def level_range(process: Bridge) -> tuple[float, float]:
    """The smallest and the largest noise-to-signal ratio of a process."""
    check_process(process)
    low, high = noise_level(process, torch.tensor([0.0, noisiest_time(process)], dtype=torch.float64)).tolist()
    return low, high


def time_of_level(process: Bridge, level: Time) -> Tensor:
    """The time at which the process has that noise-to-signal ratio (its earliest such time), float64, level's shape.

    Closed forms for vp, ve, rectified-flow and ir-sde, bisection to the last bit for the others.
    Raises ValueError, naming the nearest valid time, for levels that the process does not reach.
    """
    level = torch.as_tensor(level, dtype=torch.float64)
    low, high = level_range(process)
    outside = (level < low * (1 - 1e-9)) | (level > high * (1 + 1e-9))
    if bool(outside.any()) or not bool(torch.isfinite(level).all()):
        too_low = bool((level < low).any())
        raise ValueError(
            f"{process.name!r} has noise-to-signal ratios from {low:.4g} to {high:.4g} only, got {_shown(level)}; "
            f"the nearest time is {0 if too_low else noisiest_time(process):.6g}"
        )
    level = level.clamp(low, high)
    if isinstance(process, VE):
        return level / process.sigma_max
    if isinstance(process, RectifiedFlow):
        return level / (1 + level)
    if isinstance(process, VP):
        values, wanted = _decay(process), torch.log1p(level.square())
    elif isinstance(process, IRSDE):
        values, wanted = process.theta.values, torch.log1p(level.square() / process.variance) / 2
    else:
        return _bisected(process, level)
    return inverse(torch.linspace(0.0, 1.0, len(values), dtype=values.dtype), values, wanted)


def critical_time(source: Bridge, t: Time, target: Bridge) -> Tensor:
    """The time of `target` at which it has exactly the noise-to-signal ratio of `source` at t; float64, t's shape.

    Raises ValueError, naming the nearest time of the source that can be matched, where the target never has it.
    """
    check_process(source)
    level = noise_level(source, t)
    low, high = level_range(target)
    too_high, too_low = level > high * (1 + 1e-9), level < low * (1 - 1e-9)
    for impossible, bound, side in ((too_high, high, "more"), (too_low, low, "less")):
        if bool(impossible.any()):
            worst = torch.as_tensor(t, dtype=torch.float64)[impossible].flatten()[0].item()
            lowest, highest = level_range(source)
            nearest = time_of_level(source, min(max(bound, lowest), highest)).item()
            raise ValueError(
                f"{source.name!r} at time {worst:.6g} has {side} noise than {target.name!r} ever has "
                f"(noise-to-signal ratio {noise_level(source, worst).item():.4g}, limit {bound:.4g}); "
                f"the nearest valid time is {nearest:.6g}"
            )
    return time_of_level(target, level)


def grid_time(prior: Bridge, s: Time) -> Tensor:
    """The earliest time (j + 1)/T at or after s that a discrete prior was trained at; s itself for a continuous one."""
    s = torch.as_tensor(s, dtype=torch.float64)
    steps = getattr(prior, "steps", None)
    return s if steps is None else torch.ceil(s * steps - 1e-9).clamp(1, steps) / steps


def lowest_time(prior: Bridge) -> float:
    """The earliest time a discrete prior was trained at, index 0 at t = 1/T; 1e-3 for a continuous one."""
    return 1 / getattr(prior, "steps", 1000)


# -- the equation, on processes ------------------------------------------------------------------------------------------


def forward_transition(bridge: Bridge, t: Time, prior: Bridge, s: Time) -> Transition:
    """From the bridge at t to the prior at s, at or past the critical time, with the least noise; x0 does not enter.

    Raises ValueError naming the nearest valid time of the prior where s is too early.
    """
    check_process(bridge)
    needed, offered = noise_level(bridge, t), noise_level(prior, s)
    if bool((offered < needed * (1 - 1e-9)).any()):
        nearest = critical_time(bridge, t, prior)
        raise ValueError(
            f"at time {_shown(torch.as_tensor(s))} {prior.name!r} has less noise than {bridge.name!r} at time "
            f"{_shown(torch.as_tensor(t))}; the nearest valid time is {_shown(nearest)}"
        )
    return least_noise(bridge.coefficients(t), prior.coefficients(s))


def reverse_transition(prior: Bridge, s: Time, bridge: Bridge, t: Time) -> Transition:
    """From the prior at s to the bridge at t, with at most the same noise: deterministic, x0 enters.

    Raises ValueError naming the nearest valid time of the bridge where t is too late.
    """
    check_process(bridge)
    offered, wanted = noise_level(prior, s), noise_level(bridge, t)
    if bool((wanted > offered * (1 + 1e-9)).any()):
        low, high = level_range(bridge)
        nearest = time_of_level(bridge, offered.clamp(low, high))
        raise ValueError(
            f"at time {_shown(torch.as_tensor(t))} {bridge.name!r} has more noise than {prior.name!r} at time "
            f"{_shown(torch.as_tensor(s))}; the nearest valid time is {_shown(nearest)}"
        )
    return transition(prior.coefficients(s), bridge.coefficients(t), 0.0, negative=True)


def posterior_transition(bridge: Bridge, t: float, s: float) -> Transition:
    """The bridge's own reverse step p(x_s | x_t, x0, y) from t to the earlier s, the alternative the paper names.

    It is the same equation within one process, with the noise of the Markov posterior. Never combine it with a prior
    that is asked beyond the critical time: the variance collapses (derived).
    """
    check_process(bridge)
    here, there = bridge.coefficients(t), bridge.coefficients(s)
    points = (Point(0.0, 0.0, c.alpha.item(), c.beta.item(), c.gamma.item()) for c in (here, there))
    return transition(here, there, markov_std(*points), negative=True)


@lru_cache(maxsize=64)
def _decay(process: VP) -> Tensor:
    """log(1 + n^2) = -2 log(alpha) at the grid times, between which it is linear."""
    ends = torch.linspace(0.0, 1.0, process.steps + 1, dtype=torch.float64)
    return torch.log1p(noise_level(process, ends).square())


def _bisected(process: Bridge, level: Tensor) -> Tensor:
    low, high = torch.zeros_like(level), torch.full_like(level, noisiest_time(process))
    for _ in range(60):
        middle = (low + high) / 2
        below = noise_level(process, middle) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high


def _shown(value: Tensor) -> str:
    """A number, or the range of several."""
    low, high = value.min().item(), value.max().item()
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
