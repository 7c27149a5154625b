"""The transition equation: states carried between processes of one clean image.

    x = f x0 + b y + s e   (source)      z = F x0 + B y + S e'   (target)
    z = A x + (F - A f) x0 + (B - A b) y + sigma eps,      A = sqrt((S^2 - sigma^2) / s^2)

has the target's marginal for every sigma in [0, S] (IRBridge, arXiv 2505.24406, eq. 7). Two members stand out. With the
noise-to-signal ratio n = s/f, the clock in which all processes are one: towards more noise (S/F >= n), the smallest sigma
that needs no knowledge of x0 is sqrt(S^2 - (F n)^2), and A = F/f; towards less noise, sigma = 0 and x0 enters with a weight
F - A f >= 0. Where both ratios are equal, at the *critical time*, both are one affine map: neither noise nor x0 enters.

Times are continuous. A prior trained at T discrete times holds index j at t = (j + 1)/T; `Bridge.grid_time` rounds up to those.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rebridge.bridges.base import Bridge
from rebridge.bridges.coefficients import Coefficients, per_image, shown

ROUNDING = 1e-12
"""Relative difference of two squared noise levels that counts as none: rounding of float64 times leaves about 1e-15."""

Time = Tensor | float


@dataclass(frozen=True)
class Transition:
    """One transition, z = a x + b x0 + c y + sigma eps.

    Args:
        a: factor of the source's state; all four are float64 and of one shape, that of the times, () or (B,).
        b: factor of the clean image.
        c: factor of the degraded image.
        sigma: standard deviation of fresh noise.
    """

    a: Tensor
    b: Tensor
    c: Tensor
    sigma: Tensor

    def __call__(self, x: Tensor, y: Tensor, x0: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Compute the target's state.

        Args:
            x: the source's state, (B, ...).
            y: degraded images (B, ...).
            x0: clean images or estimates (B, ...), where they enter.
            noise: standard normal (B, ...), where it enters.

        Raises:
            ValueError: the transition needs x0 or noise that is not given.
        """
        a, b, c, sigma = self._numbers or (per_image(value.to(x.device, x.dtype), x.ndim) for value in self._parts)
        z = a * x + c * y
        for name, part, factor in (("x0", x0, b), ("noise", noise, sigma)):
            if part is not None:
                z = z + factor * part
            elif name in self.needs:
                largest = (self.b if name == "x0" else self.sigma).abs().max().item()
                raise ValueError(f"this transition needs {name}: its factor is up to {largest:g}")
        return z

    @cached_property
    def needs(self) -> frozenset[str]:
        """Names of what enters beside x and y: "x0", "noise"."""
        return frozenset(name for name, factor in (("x0", self.b), ("noise", self.sigma)) if bool((factor != 0).any()))

    def split(self) -> list[Transition]:
        """Split transitions at several times, (N,), into N transitions at one.

        Their numbers are read off at once: no device waits for them later.
        """
        found = [Transition(*values) for values in zip(*(part.unbind() for part in self._parts), strict=True)]
        for one in found:
            _ = one._numbers
        return found

    @cached_property
    def _numbers(self) -> tuple[float, float, float, float] | None:
        """The parts of a transition at one time."""
        a, b, c, sigma = self._parts
        return None if a.ndim else (a.item(), b.item(), c.item(), sigma.item())

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.a, self.b, self.c, self.sigma


# -- the equation, on coefficients -------------------------------------------------------------------------------------


def sigma_range(source: Coefficients, target: Coefficients) -> tuple[Tensor, Tensor]:
    """Compute the range of fresh noise for which A >= 0 and F - A f >= 0.

    Returns:
        The standard deviations sqrt(max(0, S^2 - (F s/f)^2)) and S.
    """
    known = target.alpha * source.gamma / source.alpha
    missing = target.gamma.square() - known.square()
    missing = torch.where(missing > ROUNDING * target.gamma.square(), missing, 0.0)
    return missing.sqrt(), target.gamma


def transition(source: Coefficients, target: Coefficients, sigma: Time, negative: bool = False) -> Transition:
    """Build the general transition with fresh noise of a given size.

    Args:
        source: coefficients of the process that the state comes from.
        target: coefficients of the process that it goes to.
        sigma: standard deviation of the noise, a float or of the coefficients' shape.
        negative: allow a negative weight of x0; the marginal is right all the same, only x0 is then subtracted (derived).

    Raises:
        ValueError: sigma outside its range, or a source without noise to scale.
    """
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    lowest, highest = sigma_range(source, target)
    lowest = torch.zeros_like(lowest) if negative else lowest
    slack = 1e-9 * highest
    if bool(((sigma < lowest - slack) | (sigma > highest + slack)).any()):
        raise ValueError(
            f"sigma must lie between {lowest.max().item():.6g} and {highest.min().item():.6g}, got {shown(sigma)}"
        )
    if bool((source.gamma == 0).any()):
        raise ValueError("a state without noise cannot be carried over by scaling its noise: choose a later time")
    a = (target.gamma.square() - sigma.square()).clamp(min=0.0).sqrt() / source.gamma
    return Transition(a, target.alpha - a * source.alpha, target.beta - a * source.beta, sigma.expand_as(a))


def least_noise(source: Coefficients, target: Coefficients) -> Transition:
    """Build the transition towards more noise that does without x0.

    z = (F/f)(x - b y) + B y + sigma eps with the smallest sigma, also where the source has no noise at all.

    Raises:
        ValueError: the target has less noise, or f = 0.
    """
    if bool((source.alpha == 0).any()):
        raise ValueError("the state holds nothing of the clean image (alpha = 0): choose an earlier time of the bridge")
    sigma, _ = sigma_range(source, target)
    known = target.alpha * source.gamma / source.alpha
    if bool((known.square() > (1 + 1e-9) * target.gamma.square()).any()):
        raise ValueError("the target has less noise than the source: without x0 there is no way to remove it")
    a = target.alpha / source.alpha
    return Transition(a, torch.zeros_like(a), target.beta - a * source.beta, sigma)


# -- on processes --------------------------------------------------------------------------------------------------------


def check_pair(source: Bridge, target: Bridge) -> None:
    """Raise ValueError unless both processes have noise, and the same kind of noise.

    Noise that is multiplied by the residual in one process only cannot be carried over by scaling.
    """
    for process in (source, target):
        _ = process.level_range
    if source.modulation != target.modulation:
        residual, other = (source, target) if source.modulation == "residual" else (target, source)
        raise ValueError(
            f"bridge {residual.name!r} here multiplies its noise by the residual, which {other.name!r} does not; "
            f"create it with modulation='one'"
        )


def critical_time(source: Bridge, t: Time, target: Bridge) -> Tensor:
    """Find the time of `target` with the noise-to-signal ratio of `source` at t.

    Args:
        source: the process whose noise is matched.
        t: its times, any shape.
        target: the process that is searched.

    Returns:
        Times of the target, float64, of t's shape.

    Raises:
        ValueError: the target never has that ratio; the message names the nearest time of the source that can be matched.
    """
    check_pair(source, target)
    level = source.noise_level(t)
    low, high = target.level_range
    too_high, too_low = level > high * (1 + 1e-9), level < low * (1 - 1e-9)
    for impossible, bound, side in ((too_high, high, "more"), (too_low, low, "less")):
        if bool(impossible.any()):
            worst = torch.as_tensor(t, dtype=torch.float64)[impossible].flatten()[0].item()
            lowest, highest = source.level_range
            nearest = source.time_of_level(min(max(bound, lowest), highest)).item()
            raise ValueError(
                f"{source.name!r} at time {worst:.6g} has {side} noise than {target.name!r} ever has "
                f"(noise-to-signal ratio {source.noise_level(worst).item():.4g}, limit {bound:.4g}); "
                f"the nearest valid time is {nearest:.6g}"
            )
    return target.time_of_level(level)


def forward_transition(bridge: Bridge, t: Time, prior: Bridge, s: Time) -> Transition:
    """Build the transition from the bridge at t to the prior at s.

    It takes the least noise, so x0 does not enter.

    Args:
        bridge: the source.
        t: its time.
        prior: the target.
        s: its time, at or past the critical one.

    Raises:
        ValueError: s is too early; the message names the nearest valid time of the prior.
    """
    check_pair(bridge, prior)
    needed, offered = bridge.noise_level(t), prior.noise_level(s)
    if bool((offered < needed * (1 - 1e-9)).any()):
        nearest = critical_time(bridge, t, prior)
        raise ValueError(
            f"at time {shown(torch.as_tensor(s))} {prior.name!r} has less noise than {bridge.name!r} at time "
            f"{shown(torch.as_tensor(t))}; the nearest valid time is {shown(nearest)}"
        )
    return least_noise(bridge.coefficients(t), prior.coefficients(s))


def reverse_transition(prior: Bridge, s: Time, bridge: Bridge, t: Time) -> Transition:
    """Build the transition from the prior at s to the bridge at t.

    The bridge has at most the same noise there, so the transition is deterministic and x0 enters.

    Args:
        prior: the source.
        s: its time.
        bridge: the target.
        t: its time.

    Raises:
        ValueError: t is too late; the message names the nearest valid time of the bridge.
    """
    check_pair(bridge, prior)
    offered, wanted = prior.noise_level(s), bridge.noise_level(t)
    if bool((wanted > offered * (1 + 1e-9)).any()):
        low, high = bridge.level_range
        nearest = bridge.time_of_level(offered.clamp(low, high))
        raise ValueError(
            f"at time {shown(torch.as_tensor(t))} {bridge.name!r} has more noise than {prior.name!r} at time "
            f"{shown(torch.as_tensor(s))}; the nearest valid time is {shown(nearest)}"
        )
    return transition(prior.coefficients(s), bridge.coefficients(t), 0.0, negative=True)


def posterior_transition(bridge: Bridge, t: float, s: float) -> Transition:
    """Build the bridge's own reverse step p(x_s | x_t, x0, y), from t to s < t.

    It is the same equation within one process, with the noise of the Markov posterior. Never combine it with a prior
    that is evaluated beyond the critical time: the variance collapses (derived).
    """
    _ = bridge.level_range
    here, there = bridge.coefficients(t), bridge.coefficients(s)
    sigma = there.gamma
    if here.gamma.item() > 0 and there.alpha.item() > 0:
        ratio = there.gamma * here.alpha / (here.gamma * there.alpha)
        sigma = there.gamma * (1 - ratio.square()).clamp(min=0.0).sqrt()
    return transition(here, there, sigma, negative=True)
