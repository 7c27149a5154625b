"""IRBridge: a pretrained generative prior does the denoising inside a restoration bridge (arXiv 2505.24406).

Two ways to use a prior on a bridge. `TransitionDenoiser` shows the prior as a denoiser of the bridge, so that every sampler
runs on it. `IRBridge` is the paper's own loop, from the bridge time t to the next, s, with the prior asked at time j:

    z = (F/f)(x_t - b y) + sigma eps         forward transition, sigma = 0 at the critical time
    x0_hat = prior(z, j, y)
    x_s = f_s x0_hat + b_s y + s_s (z - F x0_hat)/S          reverse transition, deterministic

Both live in the prior's space: y and the states are what the prior's `encode` gives, and the bridge's noise (`lam`) is in units
of that space. A *prior* is any denoiser of a generative process, called as prior(z, j, y).

In reverse after forward y cancels: given the same network, the loop is stochastic DDIM of the conditional prior, and y enters
through the start and the network's condition only. So the start matters (`start`), the times the prior is asked at matter
(`schedule`), and an unconditional prior cannot know y: its estimates drift to images that are likely without it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser, Estimate, as_estimate
from rebridge.priors import schedules
from rebridge.priors import transition as tr
from rebridge.samplers.base import Callback, Noise, Point, Sampler, Walk, kept_share, marginal_step, markov_std

IRStart = Literal["y", "noise", "estimate"]
STARTS: tuple[str, ...] = ("y", "noise", "estimate")
ESTIMATE_LEVEL = 10.0
IR_GRIDS: tuple[str, ...] = ("uniform", "log-snr")


class TransitionDenoiser:
    """A generative prior as a denoiser of a bridge: x_t is carried over at the critical time and denoised there.

    prior: denoiser of `process`, called as prior(z, s, y). process: generative, beta = 0. bridge: any with noise that does
    not depend on the image. lowest: earliest time the prior was trained at, by default the process's first.

    Where the bridge holds more noise than the prior ever does, its state is scaled down to the prior's last time; at a
    pinned end, where it holds nothing but y, the prior is asked about y under that much noise (the same at each call).
    Where it holds less than at `lowest`, the prior is asked at `lowest`. Raises ValueError for a bridge without such noise.
    """

    def __init__(self, prior: Denoiser, process: Bridge, bridge: Bridge, lowest: float | None = None) -> None:
        tr.check_process(bridge)
        self.prior = prior
        self.process = process
        self.bridge = bridge
        self.lowest = tr.lowest_time(process) if lowest is None else lowest

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Estimate:
        """The clean estimate for states x_t and degraded images y (B, ...) and times t (B,)."""
        times = t.double().cpu()
        c, level = self.bridge.coefficients(times), tr.noise_level(self.bridge, times)
        least, most = tr.noise_level(self.process, torch.tensor([self.lowest, 1.0], dtype=torch.float64)).tolist()
        s = tr.time_of_level(self.process, level.clamp(least, most))
        p = self.process.coefficients(s)
        factor = torch.where(level > most, p.gamma / c.gamma, p.alpha / c.alpha)
        singular = c.gamma + c.alpha == 0
        factor = torch.where(singular, torch.zeros_like(factor), factor).to(x_t).reshape(-1, *[1] * (y.ndim - 1))
        z = factor * (x_t - c.like(y).beta * y)
        if bool(singular.any()):
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(y.shape[1:], generator=generator).to(y)
            start = p.like(y).alpha * y + p.like(y).gamma * noise
            z = torch.where(singular.to(y.device).reshape(-1, *[1] * (y.ndim - 1)), start, z)
        return Estimate(as_estimate(self.prior(z, s.to(t), y)).x0)


@dataclass(frozen=True, kw_only=True)
class IRBridge(Sampler):
    """The paper's loop: called as sampler(bridge, prior, y) with a denoiser of `process` in the place of the bridge's.

    process: the prior's generative process. lowest: earliest time the prior was trained at, by default its first.
    schedule: when the prior is asked, see `rebridge.priors.schedules`. discrete: round those times up to the prior's own.
    grid: "uniform" in the bridge's time, or "log-snr", even in log n, which needs four times fewer steps.
    start: the state to begin with: "y" (the paper: y in the place of x0, SDEdit), "noise" (nothing in its place) or
        "estimate" (the prior's estimate from pure noise, one of the `steps` calls).
    highest: noise-to-signal ratio to begin at, where bridge and prior reach it. By default the bridge's at t = 1 or, where
        that is singular, one step before; for "noise" the highest there is; for "estimate" 10. The start biases the result
        by about the error of what stands in the place of x0 over this ratio; for "estimate" by its square (derived).
    eta: 0 for the paper's deterministic reverse, 1 for the bridge's own posterior; above 0 refused with an offset schedule.
    stop: return the estimate where the bridge has less noise than the prior knows, instead of adding noise to ask on.
    Times with more noise than the prior reaches, and singular ones, are skipped.
    """

    name: ClassVar[str] = "irbridge"

    process: Bridge
    lowest: float | None = None
    steps: int = 25
    grid: str = "log-snr"
    schedule: str | schedules.Schedule = "critical"
    discrete: bool = False
    start: IRStart = "estimate"
    highest: float | None = None
    eta: float = 0.0
    stop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
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
        chosen = schedules.schedule(self.schedule)
        if self.eta > 0 and not chosen.critical:
            raise ValueError(
                f"the posterior reverse (eta {self.eta:g}) together with a prior asked beyond the critical time "
                "(schedule) loses its variance at every step; use eta 0, or schedule 'critical'"
            )

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as JSON-able values, the process as {"name": ..., **parameters}."""
        return asdict(self) | {"process": {"name": self.process.name, **self.process.params}}

    def check(self, bridge: Bridge) -> None:
        """Raise ValueError for a bridge without noise, with noise that depends on the image, or out of the prior's range."""
        tr.check_process(bridge)
        if tr.level_range(bridge)[0] > self._levels[1] or tr.level_range(bridge)[1] < self._levels[0]:
            raise ValueError(f"no time of {bridge.name!r} here has a noise level that {self.process.name!r} knows")

    @property
    def _levels(self) -> tuple[float, float]:
        """The lowest and the highest noise-to-signal ratio of the prior."""
        lowest = tr.lowest_time(self.process) if self.lowest is None else self.lowest
        low, high = tr.noise_level(self.process, torch.tensor([lowest, 1.0], dtype=torch.float64)).tolist()
        return low, high

    def first_time(self, bridge: Bridge) -> float:
        """Where the walk begins, see `highest`."""
        limit = min(self._levels[1], tr.level_range(bridge)[1])
        if self.highest is None and self.start == "y":
            before = 1 - 1 / getattr(bridge, "steps", 100)
            for t in (tr.noisiest_time(bridge), before):
                if tr.noise_level(bridge, t) <= limit:
                    return t
        wanted = self.highest or (ESTIMATE_LEVEL if self.start == "estimate" else limit)
        return tr.time_of_level(bridge, min(wanted, limit)).item()

    def times(self, bridge: Bridge) -> Tensor:
        """The bridge times of the walk, float64, decreasing to 0; the prior is asked at each but the last."""
        self.check(bridge)
        first, lowest = self.first_time(bridge), self._levels[0]
        count = self.steps - (self.start == "estimate")
        if self.grid == "uniform":
            grid = torch.linspace(first, 0.0, count + 1, dtype=torch.float64)
        else:
            high = tr.noise_level(bridge, first).item()
            low = min(max(lowest, tr.level_range(bridge)[0]), high)
            exponents = torch.linspace(0.0, 1.0, max(count, 2), dtype=torch.float64)[:count]
            inner = tr.time_of_level(bridge, high * (low / high) ** exponents)
            grid = torch.cat([inner, inner.new_zeros(1)])
            grid = grid[torch.cat([grid.diff() < 0, torch.tensor([True])])]
        if self.stop:
            enough = tr.noise_level(bridge, grid) >= lowest * (1 - 1e-9)
            enough[0] = enough[-1] = True
            grid = grid[enough]
        return grid

    def prior_time(self, bridge: Bridge, t: float) -> float:
        """The time at which the prior is asked about the bridge's state at t."""
        low, high = self._levels
        level = schedules.schedule(self.schedule).level(t, tr.noise_level(bridge, t).item())
        s = tr.time_of_level(self.process, min(max(level, low), high))
        return (tr.grid_time(self.process, s) if self.discrete else s).item()

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        """The state at the first time, unless one is given."""
        if x is not None:
            return x, times
        c = walk.bridge.coefficients(times[:1]).like(walk.y)
        noise = walk.noise()
        x = c.beta * walk.y + c.gamma * noise
        if self.start == "y":
            x = x + c.alpha * walk.y
        elif self.start == "estimate":
            x = x + c.alpha * walk.estimate(self.process.prior(walk.y, noise), _point(self.process, 1.0)).x0
        return x, times

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        """Forward transition, the prior's estimate, reverse transition."""
        point = _point(self.process, self.prior_time(walk.bridge, t.t))
        forward = tr.forward_transition(walk.bridge, t.t, self.process, point.t)
        z = forward(x, walk.y, noise=walk.noise() if forward.sigma.item() > 0 else None)
        x0 = walk.estimate(z, point).x0
        if s.last and s.t == 0:
            return x0
        added = self.eta * markov_std(t, s)
        noise = (z - point.alpha * x0) / point.gamma
        kept = kept_share(walk.bridge, t, s, added)
        return marginal_step(walk, x, Estimate(x0, noise), t, s, kept=kept, added=added)

    def __call__(
        self,
        bridge: Bridge,
        denoiser: Denoiser,
        y: Tensor,
        *,
        x: Tensor | None = None,
        times: Tensor | list[float] | None = None,
        noise: Noise | None = None,
        generator: torch.Generator | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Restore y (B, ...) in the prior's space; `denoiser` is the prior. Options and errors as in `Sampler`."""
        times = self.times(bridge) if times is None else times
        return super().__call__(
            bridge, denoiser, y, x=x, times=times, noise=noise, generator=generator, callback=callback
        )


def _point(process: Bridge, t: float) -> Point:
    c = process.coefficients(t)
    return Point(t, process.clock(torch.tensor(t)).item(), c.alpha.item(), c.beta.item(), c.gamma.item())
