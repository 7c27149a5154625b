"""IRBridge: a pretrained prior inside a restoration bridge (arXiv 2505.24406).

The prior, a generative model, does the denoising.

The paper's own loop, from the bridge time t to the next, s, with the prior evaluated at time j:

    z = (F/f)(x_t - b y) + sigma eps         forward transition, sigma = 0 at the critical time
    x0_hat = prior(z, j, y)
    x_s = f_s x0_hat + b_s y + s_s (z - F x0_hat)/S          reverse transition, deterministic

Both processes live in the prior's space: y and the states are what the prior's `encode` gives, and the bridge's noise (`lam`)
is in units of that space. `rebridge.denoisers.TransitionDenoiser` is the other way to use a prior on a bridge, for any sampler.

In reverse after forward y cancels: given the same network, the loop is stochastic DDIM of the conditional prior, and y enters
through the start and the network's condition only. So the start matters (`start`), the times of evaluation matter
(`schedule`), and an unconditional prior cannot know y: its estimates drift to images that are likely without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rebridge import bridges
from rebridge.bridges import Bridge
from rebridge.bridges.transition import check_pair, forward_transition
from rebridge.denoisers import Estimate
from rebridge.samplers import prior_schedules
from rebridge.samplers.base import Point, Sampler, Walk, remembered
from rebridge.samplers.steps import kept_share, marginal_step, markov_std

IRStart = Literal["y", "noise", "estimate"]
STARTS: tuple[str, ...] = ("y", "noise", "estimate")
ESTIMATE_LEVEL = 10.0
IR_GRIDS: tuple[str, ...] = ("uniform", "log-snr")


@dataclass(frozen=True, kw_only=True)
class IRBridge(Sampler):
    """IRBridge's loop: a prior denoises the states of a bridge (arXiv 2505.24406).

    It is called as sampler(bridge, prior, y), with a denoiser of `process` in the place of the bridge's. Times with more noise
    than the prior reaches, and singular ones, are skipped.

    Args:
        process: the prior's generative process.
        lowest: earliest time the prior was trained at, by default the process's first.
        steps: number of evaluations of the prior, with the one that `start` "estimate" takes.
        grid: "uniform" in the bridge's time, or "log-snr", even in log n, which needs four times fewer steps.
        schedule: when the prior is evaluated, see `rebridge.samplers.prior_schedules`.
        discrete: round those times up to the prior's own grid.
        start: the state to begin with: "y" (the paper: y in the place of x0, SDEdit), "noise" (nothing in its place) or
            "estimate" (the prior's estimate from pure noise, one of the `steps` evaluations).
        highest: noise-to-signal ratio to begin at, where bridge and prior reach it. By default the bridge's at t = 1 or, where
            that is singular, one step before; for "noise" the highest there is; for "estimate" 10. The start biases the result
            by about the error of what stands in the place of x0 over this ratio; for "estimate" by its square (derived).
        eta: 0 for the paper's deterministic reverse, 1 for the bridge's own posterior; above 0 refused with an offset schedule.
        stop: return the estimate where the bridge has less noise than the prior was trained on, instead of adding noise to go on.
    """

    name: ClassVar[str] = "irbridge"
    remembered: ClassVar[int] = 1
    evaluates_prior: ClassVar[bool] = True

    process: Bridge | None = None
    lowest: float | None = None
    steps: int = 25
    grid: str = "log-snr"
    schedule: str | prior_schedules.Schedule = "critical"
    discrete: bool = False
    start: IRStart = "estimate"
    highest: float | None = None
    eta: float = 0.0
    stop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.process, Mapping):
            described = dict(self.process)
            object.__setattr__(self, "process", bridges.create(described.pop("name"), **described))
        if self.grid not in IR_GRIDS:
            raise ValueError(f"grid must be one of {', '.join(IR_GRIDS)}, got {self.grid!r}")
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(STARTS)}, got {self.start!r}")
        if self.highest is not None and not self.highest > 0:
            raise ValueError(f"highest must be positive, got {self.highest}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")
        if self.start == "estimate" and self.steps < 2:
            raise ValueError("start 'estimate' takes one of the steps for itself: steps must be at least 2, got 1")
        chosen = prior_schedules.schedule(self.schedule)
        if self.eta > 0 and not chosen.critical:
            raise ValueError(
                f"the posterior reverse (eta {self.eta:g}) together with a prior evaluated beyond the critical time "
                "(schedule) loses its variance at every step; use eta 0, or schedule 'critical'"
            )

    @property
    def params(self) -> dict[str, Any]:
        """Parameters as JSON-able values, the process as {"name": ..., **parameters}."""
        process = None if self.process is None else {"name": self.process.name, **self.process.params}
        return asdict(self) | {"process": process}

    def for_model(self, process: Bridge, earliest: float) -> IRBridge:
        """Choose a model's process and earliest time, unless a process is chosen already."""
        return self if self.process is not None else replace(self, process=process, lowest=self.lowest or earliest)

    def check(self, bridge: Bridge) -> None:
        """Raise ValueError for a bridge that the prior cannot follow.

        It has no noise, noise of another kind, or noise out of the prior's range.
        """
        prior = self.prior_process(bridge)
        check_pair(bridge, prior)
        low, high = self.prior_levels(bridge)
        if bridge.level_range[0] > high or bridge.level_range[1] < low:
            raise ValueError(f"no time of {bridge.name!r} here has a noise level that {prior.name!r} knows")

    def prior_process(self, bridge: Bridge) -> Bridge:
        """Return the process that the prior was trained on."""
        return bridge if self.process is None else self.process

    def prior_levels(self, bridge: Bridge) -> tuple[float, float]:
        """Compute the lowest and the highest noise-to-signal ratio of the prior."""
        prior = self.prior_process(bridge)
        lowest = prior.earliest_time if self.lowest is None else self.lowest
        low, high = prior.noise_level(torch.tensor([lowest, prior.noisiest_time], dtype=torch.float64)).tolist()
        return low, high

    def first_time(self, bridge: Bridge) -> float:
        """Compute the bridge time to begin at, see `highest`."""
        limit = min(self.prior_levels(bridge)[1], bridge.level_range[1])
        if self.highest is None and self.start == "y":
            before = 1 - 1 / (bridge.grid_steps or 100)
            for t in (bridge.noisiest_time, before):
                if bridge.noise_level(t) <= limit:
                    return t
        wanted = self.highest or (ESTIMATE_LEVEL if self.start == "estimate" else limit)
        return bridge.time_of_level(min(wanted, limit)).item()

    def times(self, bridge: Bridge) -> Tensor:
        """Compute the bridge times: float64, decreasing to 0.

        The prior is evaluated at each but the last.
        """
        return _times(self, bridge).clone()

    def _times(self, bridge: Bridge) -> Tensor:
        self.check(bridge)
        first, lowest = self.first_time(bridge), self.prior_levels(bridge)[0]
        count = self.steps - (self.start == "estimate")
        if self.grid == "uniform":
            grid = torch.linspace(first, 0.0, count + 1, dtype=torch.float64)
        else:
            high = bridge.noise_level(first).item()
            low = min(max(lowest, bridge.level_range[0]), high)
            exponents = torch.linspace(0.0, 1.0, max(count, 2), dtype=torch.float64)[:count]
            inner = bridge.time_of_level(high * (low / high) ** exponents)
            grid = torch.cat([inner, inner.new_zeros(1)])
            grid = grid[torch.cat([grid.diff() < 0, torch.tensor([True])])]
        if self.stop:
            enough = bridge.noise_level(grid) >= lowest * (1 - 1e-9)
            enough[0] = enough[-1] = True
            grid = grid[enough]
        return grid

    def prior_time(self, bridge: Bridge, t: float) -> float:
        """Compute the time at which the prior is evaluated for the bridge's state at t."""
        return self.prior_times(bridge, torch.tensor([t], dtype=torch.float64)).item()

    def prior_times(self, bridge: Bridge, times: Tensor) -> Tensor:
        """Compute the times at which the prior is evaluated for the bridge's states.

        Args:
            bridge: what is walked.
            times: of the bridge, float64, (N,).

        Returns:
            Times of the prior, float64, (N,).
        """
        prior, (low, high) = self.prior_process(bridge), self.prior_levels(bridge)
        chosen = prior_schedules.schedule(self.schedule)
        s = prior.time_of_level(chosen.levels(times, bridge.noise_level(times)).clamp(low, high))
        return prior.grid_time(s) if self.discrete else s

    def plan(self, bridge: Bridge, points: list[Point]) -> dict[Point, Any]:
        """Compute each step's point of the prior and the transition to it.

        And whether noise enters there.
        """
        return _planned(self, bridge, tuple(points)) if len(points) > 1 else {}

    def _planned(self, bridge: Bridge, points: tuple[Point, ...]) -> dict[Point, Any]:
        times = torch.tensor([point.t for point in points[:-1]], dtype=torch.float64)
        prior, s = self.prior_process(bridge), self.prior_times(bridge, times)
        forward = forward_transition(bridge, times, prior, s)
        steps = [
            (point, one, "noise" in one.needs) for point, one in zip(_points(prior, s), forward.split(), strict=True)
        ]
        return dict(zip(points[:-1], steps, strict=True))

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        """Make the state at the first time, unless one is given."""
        if x is not None:
            return x, times
        c = walk.bridge.coefficients(times[:1]).like(walk.y)
        noise = walk.noise()
        x = c.beta * walk.y + c.gamma * noise
        if self.start == "y":
            x = x + c.alpha * walk.y
        elif self.start == "estimate":
            prior = self.prior_process(walk.bridge)
            (end,) = _points(prior, times.new_ones(1))
            x = x + c.alpha * walk.estimate(prior.prior(walk.y, noise), end).x0
        return x, times

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        """Transition to the prior, evaluate it, and transition back."""
        point, forward, noisy = self.planned(walk, t, s)
        z = forward(x, walk.y, noise=walk.noise() if noisy else None)
        x0 = walk.estimate(z, point).x0
        if s.last and s.t == 0:
            return x0
        added = self.eta * markov_std(t, s)
        deviation = z - point.alpha * x0
        if point.beta != 0:
            deviation = deviation - point.beta * walk.y
        kept = kept_share(walk.bridge, t, s, added)
        return marginal_step(walk, x, Estimate(x0, deviation / point.gamma), t, s, kept=kept, added=added)


_times = remembered(IRBridge._times)
_planned = remembered(IRBridge._planned)


def _points(process: Bridge, times: Tensor) -> list[Point]:
    c = process.coefficients(times)
    return [Point(*row) for row in torch.stack([times, process.clock(times), c.alpha, c.beta, c.gamma], 1).tolist()]
