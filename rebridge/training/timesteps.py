"""Times and states that a network is trained at.

Three kinds of sample make up a batch: *end* (t = 1, the state that restoring begins with), *bridge* (t < 1,
x_t drawn by the forward formula from the true x0) and *rollout* (t < 1, x_t self-generated: as a sampler would reach it from
the network's own estimates, which closes the gap between training and sampling that the forward formula leaves).

Everything drawn for sample `i` of the run is a pure function of `(seed, i)`, so it does not depend on how the samples
are spread over batches, accumulation steps and processes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.bridges.tabulated import inverse
from rebridge.data.seeds import generator_of, seed_of
from rebridge.networks.conditions import NONE, Values, at_rows
from rebridge.training.config import StatesConfig

Denoise = Callable[..., Tensor]


@dataclass(frozen=True)
class States:
    """Times t (N,), float64, and states x_t (N, C, H, W) in the bridge's range.

    rows (N,): the pair of each.
    """

    t: Tensor
    x_t: Tensor
    rows: Tensor


BEYOND = 0.125
"""Share of the samples of "log-noise" that lie beyond its greatest noise, uniform in t."""
END_ONLY = StatesConfig(end_fraction=1.0)
"""Every sample at t = 1: plain one-step regression."""


def draw_states(
    bridge: Bridge,
    denoiser: Denoise,
    x0: Tensor,
    y: Tensor,
    first: int,
    seed: int,
    plan: StatesConfig,
    told: Values = NONE,
) -> States:
    """Times and states for the samples number `first` ... `first + B - 1` of a run.

    x0, y: (B, C, H, W) in the bridge's value range. denoiser: called, without gradients, on the samples of kind "rollout"
    only; how many there are differs by at most one between batches, and not at all where the fractions of the
    batch are whole. N is B, and more where `plan.rollout_again` uses pairs twice. told: extra conditions, which the denoiser is
    called with by name.
    """
    indices = range(first, first + len(x0))
    kinds = [kind_of(index, plan) for index in indices]
    t = _inner_times(bridge, indices, seed, plan).to(x0.device)
    t[[place for place, kind in enumerate(kinds) if kind == "end"]] = 1.0
    again = [place for place, index in enumerate(indices) if _counts(index, plan.rollout_again)]
    unseen = torch.zeros_like(x0[0])
    noise = torch.stack(
        [
            _noise(index, seed, x0[0]) if kind != "end" or place in again or bridge.starts_noisy else unseen
            for place, (index, kind) in enumerate(zip(indices, kinds, strict=True))
        ]
    )
    x_t = bridge.prior(y, noise)
    if any(kind != "end" for kind in kinds):
        end = torch.tensor([kind == "end" for kind in kinds], device=x0.device).view(-1, 1, 1, 1)
        x_t = torch.where(end, x_t, bridge.forward(x0, y, t, noise))
    rollout = [place for place, kind in enumerate(kinds) if kind == "rollout"]
    rows = torch.tensor([*range(len(x0)), *again], device=x0.device)
    t = torch.cat([t, _inner_times(bridge, [indices[place] for place in again], seed, plan).to(t)])
    x_t = torch.cat([x_t, x_t[again]])
    rollout += range(len(x0), len(rows))
    if rollout:
        steps = 1 + seed_of(seed, "own steps", first) % plan.rollout_steps
        own = partial(denoiser, **at_rows(told, rows[rollout])) if told else denoiser
        x_t[rollout] = rollout_states(
            bridge, own, y[rows[rollout]], t[rollout], noise[rows[rollout]], plan.rollout_noise, steps
        )
    return States(t, x_t, rows)


def drop_conditions(y: Tensor, first: int, seed: int, fraction: float) -> Tensor:
    """Set a fraction of the conditions y (B, C, H, W) to 0.

    first: number of the first sample.
    """
    if fraction == 0:
        return y
    draws = [torch.rand((), generator=generator_of(seed, "condition", first + place)) for place in range(len(y))]
    kept = torch.stack(draws) >= fraction
    return y * kept.to(y.device, y.dtype).view(-1, 1, 1, 1)


def kind_of(index: int, plan: StatesConfig) -> str:
    """The kind of sample number `index`: "end", "bridge" or "rollout".

    Kinds are spread as evenly as the fractions allow.
    """
    ends = int((index + 1) * plan.end_fraction)
    if ends > int(index * plan.end_fraction):
        return "end"
    inner = index - ends
    return "rollout" if int((inner + 1) * plan.rollout_fraction) > int(inner * plan.rollout_fraction) else "bridge"


@torch.no_grad()
def rollout_states(
    bridge: Bridge, denoiser: Denoise, y: Tensor, t: Tensor, noise: Tensor, leave: str, steps: int = 1
) -> Tensor:
    """Self-generated states at times t (B,), by `steps` equal steps from t = 1.

    y, noise: (B, C, H, W). Where the bridge starts in y itself there is no noise to carry on after the first step:
    leave "mean" then continues without, "noise" with `gamma modulate(x0_hat, y, noise)`.
    """
    now = torch.ones_like(t)
    x = bridge.prior(y, noise)
    for step in range(steps):
        x0_hat = denoiser(x, now, y).clamp(*bridge.value_range)
        after = 1 - (1 - t) * (step + 1) / steps
        c = bridge.coefficients(after).like(x)
        if step == 0 and bridge.pinned:
            product = bridge.modulate(x0_hat, y, noise) if leave == "noise" else torch.zeros_like(x)
        else:
            product = bridge.noise_estimate(x, x0_hat, y, now)
        x = c.alpha * x0_hat + c.beta * y + c.gamma * product
        now = after
    return x


def times_of_weight(bridge: Bridge, share: Tensor) -> Tensor:
    """Times at which the network's weight is `share` of its value at t = 1.

    The weight is gamma / sqrt(alpha^2 + gamma^2); share lies in [0, 1) and has any shape.

    That is what "blend" and "preconditioned" leave to the network. Along a bridge with little noise it is near 0 nearly always,
    and the network's output there hardly matters; times uniform in it are spent where it does.
    """
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64, device=share.device)
    c = bridge.coefficients(grid)
    left = c.gamma / (c.alpha.square() + c.gamma.square()).sqrt().clamp(min=1e-300)
    left[-1] = torch.where(c.alpha[-1] > 0, left[-1], 1.0)
    left = left.cummax(0).values / left.max()
    return inverse(grid, left, share)


def times_of_noise(bridge: Bridge, level: Tensor) -> Tensor:
    """Times at which the image bears noise of a standard deviation of `level`.

    In steps of 8 bits: gamma / alpha is level / 255 of the width of the bridge's value range; beyond its noise the last time.

    Args:
        bridge: a generative process, whose noise only grows.
        level: any shape.
    """
    grid = torch.linspace(0, 1, 10_001, dtype=torch.float64, device=level.device)
    c = bridge.coefficients(grid)
    low, high = bridge.value_range
    levels = 255 / (high - low) * c.gamma / c.alpha.clamp(min=1e-300)
    return inverse(grid, levels.clamp(min=1e-12).log(), level.clamp(min=1e-12).log())


def _times_in_noise(bridge: Bridge, share: Tensor, noise: tuple[float, float]) -> Tensor:
    """Times between two noise levels, uniform in their logarithm, and for the greatest shares times beyond them."""
    inside = 1 - BEYOND
    low, high = (math.log(level) for level in noise)
    levels = torch.exp(low + (high - low) * (share / inside).clamp(max=1))
    last = times_of_noise(bridge, torch.tensor(noise[1], dtype=share.dtype))
    return torch.where(share < inside, times_of_noise(bridge, levels), 1 - (1 - last) * (1 - share) / BEYOND)


def _counts(index: int, share: float) -> bool:
    return int((index + 1) * share) > int(index * share)


def _inner_times(bridge: Bridge, indices: Sequence[int], seed: int, plan: StatesConfig) -> Tensor:
    times = torch.tensor([_time(index, seed, plan) for index in indices], dtype=torch.float64)
    if plan.times == "uniform-in-weight":
        return times_of_weight(bridge, times)
    if plan.times == "log-noise":
        return _times_in_noise(bridge, times, plan.noise)
    return times


def _time(index: int, seed: int, plan: StatesConfig) -> float:
    generator = generator_of(seed, "time", index)
    if plan.times == "grid":
        return int(torch.randint(1, plan.grid, (), generator=generator)) / plan.grid
    return 1.0 - float(torch.rand((), generator=generator, dtype=torch.float64))


def _noise(index: int, seed: int, like: Tensor) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(seed_of(seed, "noise", index))
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
