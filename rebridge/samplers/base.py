"""What a sampler is: a rule for one step, called from t = 1 down to t = 0.

A step sees the state, the two times as `Point`s (all coefficients there, as plain numbers computed once in float64 before the
walk begins, so that nothing waits for the device inside the loop) and the `Walk`, which asks the denoiser and draws noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.catalogue import check_name
from rebridge.denoisers import Denoiser, Estimate, as_estimate
from rebridge.samplers import times as grids

Noise = Callable[[Tensor], Tensor]
Callback = Callable[[int, float, Tensor, Tensor], None]
Start = Literal["mean", "noise"]


@dataclass(frozen=True)
class Point:
    """A time of the grid with the process there: coefficients, the clock, and (for ODEs and SDEs) slopes in the clock."""

    t: float
    clock: float
    alpha: float
    beta: float
    gamma: float
    alpha_slope: float = 0.0
    beta_slope: float = 0.0
    gamma_slope: float = 0.0
    diffusion: float = 0.0
    """g^2 per unit of the clock."""
    last: bool = False
    """Whether the walk ends here."""


class Walk:
    """One run of a sampler: the bridge, the degraded image, the denoiser, the noise, and what was estimated so far."""

    def __init__(self, bridge: Bridge, denoiser: Denoiser, y: Tensor, noise: Noise) -> None:
        self.bridge = bridge
        self.y = y
        self._denoiser = denoiser
        self._noise = noise
        self.calls = 0
        self.history: list[tuple[Point, Tensor]] = []
        """Clean estimates with the points they were made at, newest last; at most the last three."""
        self.inner: dict[Point, Point] = {}
        """The point inside the interval after each, for samplers with `inner_times`."""

    def estimate(self, x: Tensor, t: Point, remember: bool = True) -> Estimate:
        """Ask the denoiser at a point; `remember` puts its answer into the history (predictor stages do not)."""
        time = torch.full((len(x),), t.t, dtype=_time_dtype(x), device=x.device)
        estimate = as_estimate(self._denoiser(x, time, self.y))
        self.calls += 1
        if remember:
            self.history = [*self.history[-2:], (t, estimate.x0)]
        return estimate

    def noise(self) -> Tensor:
        """A fresh standard normal tensor of the image's shape."""
        return self._noise(self.y)

    def points(self, times: Tensor, slopes: bool = False) -> list[Point]:
        """The process at float64 times, with slopes and diffusion if asked (infinite or nan at singular ends)."""
        c, clock = self.bridge.coefficients(times), self.bridge.clock(times)
        columns = [times, clock, c.alpha, c.beta, c.gamma]
        if slopes:
            d = self.bridge.derivatives(times)
            columns += [d.alpha, d.beta, d.gamma, self.bridge.squared_diffusion(times)]
        points = [Point(*row) for row in torch.stack(columns, 1).tolist()]
        return [*points[:-1], replace(points[-1], last=True)]


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Walks a bridge from the degraded to the clean image; subclasses give `step`.

    steps: number of steps of the default grid. grid: "uniform", "quadratic", "cosine", "karras" or "log-snr".
    """

    name: ClassVar[str]
    needs_slopes: ClassVar[bool] = False
    """Whether `step` uses slopes and diffusion."""
    needs_noise: ClassVar[bool] = False
    """Whether the sampler makes no sense on a noiseless bridge."""
    evaluates_prior: ClassVar[bool] = False
    """Whether `denoiser` is that of another process, a pretrained prior's, and the sampler carries states over itself."""
    walks_prior: ClassVar[bool] = False
    """Whether the sampler walks a pretrained prior's own process, and no restoration bridge."""
    order = 1
    """Order of convergence of the deterministic sampler on a smooth problem."""
    calls_per_step = 1
    """Network evaluations in a step inside the grid; the first and the last may take fewer."""

    steps: int = 10
    grid: str = "uniform"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        check_name("time grid", self.grid, grids.GRIDS)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as JSON-able values: create(sampler.name, **sampler.params) rebuilds the sampler."""
        return asdict(self)

    def fits(self, bridge: Bridge) -> bool:
        """Whether this sampler can walk this bridge."""
        try:
            self.check(bridge)
        except ValueError:
            return False
        return True

    def check(self, bridge: Bridge) -> None:
        """Raise ValueError if this sampler cannot walk this bridge."""
        if self.needs_noise and bridge.noiseless:
            raise ValueError(
                f"sampler {self.name!r} needs a bridge with noise, but {bridge.name!r} here has gamma = 0; use dbim or ode"
            )

    def for_model(self, process: Bridge, earliest: float) -> Sampler:
        """The same sampler for a model of that process, trained from the time `earliest` on; itself unless it depends on it."""
        return self

    def times(self, bridge: Bridge) -> Tensor:
        """The default time grid, float64, decreasing to 0."""
        return grids.create(self.grid, bridge, self.steps)

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        """The state to start from and the times to walk; by default the bridge's own state at t = 1."""
        return (walk.bridge.prior(walk.y, self._prior_noise(walk)) if x is None else x), times

    def inner_times(self, times: Tensor) -> Tensor:
        """One more time inside each interval, (len(times) - 1,), that `step` finds in `walk.inner[t]`; by default none."""
        return times[:0]

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        """One step from the state x at t to the earlier time s."""
        raise NotImplementedError

    @torch.no_grad()
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
        """Restore y (B, ...), given in the bridge's value range; returns a tensor of its shape and dtype.

        x: state at times[0]; by default what the bridge prescribes (y, or y plus its terminal noise).
        times: decreasing times in [0, 1] to use instead of the grid.
        noise: callable like torch.randn_like that supplies every random tensor, in the order drawn.
        generator: for the default noise; on y's device.
        callback: called after each step with (step, t, x_t, x0_hat), the state before the step and its clean estimate.
        Raises ValueError for an impossible pair of sampler and bridge, bad times, or y and x that are not alike or not finite.
        """
        self.check(bridge)
        _check_images(y, x)
        grid = self.times(bridge) if times is None else grids.check(times)
        walk = Walk(bridge, denoiser, y, noise or _default_noise(generator))
        x, grid = self.begin(walk, x, grid)
        points = walk.points(grid, self.needs_slopes)
        inner = self.inner_times(grid)
        if len(inner):
            found = walk.points(inner, self.needs_slopes)
            walk.inner = {t: replace(middle, last=False) for t, middle in zip(points[:-1], found, strict=True)}
        for i, (t, s) in enumerate(pairwise(points)):
            x_next = self.step(walk, x, t, s)
            if callback is not None:
                callback(i, t.t, x, walk.history[-1][1])
            x = x_next
        return x

    def _prior_noise(self, walk: Walk) -> Tensor:
        """Noise for the state at t = 1, drawn only where the bridge uses it."""
        return walk.noise() if walk.bridge.starts_noisy else torch.zeros_like(walk.y)


def markov_std(t: Point, s: Point) -> float:
    """Noise of the Markov posterior p(x_s | x_t, x0): gamma_s^2 (1 - gamma_s^2 alpha_t^2 / (gamma_t^2 alpha_s^2)), as std."""
    if t.gamma == 0 or s.alpha == 0:
        return s.gamma
    ratio = s.gamma * t.alpha / (t.gamma * s.alpha)
    return s.gamma * max(0.0, 1 - ratio**2) ** 0.5


def marginal_step(
    walk: Walk, x: Tensor, estimate: Estimate, t: Point, s: Point, *, kept: float, added: float = 0.0
) -> Tensor:
    """alpha_s x0_hat + beta_s y + kept (x_t - alpha_t x0_hat - beta_t y) + added * modulation_hat z.

    kept: the share of the state's deviation that goes on; sqrt(gamma_s^2 - added^2)/gamma_t preserves the marginal.
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
    """Whether t is the pinned end of a noisy bridge, where gamma = 0 and the noise estimate is undefined."""
    return t.gamma == 0 and t.t > 0 and not bridge.noiseless


def leave_end(walk: Walk, x: Tensor, t: Point, s: Point, start: Start | None) -> Tensor:
    """The first step from a pinned end: alpha_s x0_hat + beta_s y, plus gamma_s modulation_hat z if start is "noise"."""
    estimate = walk.estimate(x, t)
    added = s.gamma if (start or walk.bridge.start) == "noise" and not s.last else 0.0
    return marginal_step(walk, x, Estimate(estimate.x0), t, s, kept=0.0, added=added)


def kept_share(bridge: Bridge, t: Point, s: Point, added: float = 0.0) -> float:
    """What `marginal_step` keeps to preserve the marginal at s, given the noise it adds.

    Without noise the state lies on the line from x0_hat to an end point of its own, and the share is beta_s / beta_t.
    """
    if t.gamma > 0:
        return max(0.0, s.gamma**2 - added**2) ** 0.5 / t.gamma
    return s.beta / t.beta if bridge.noiseless and t.beta > 0 else 0.0


def check_start(start: str | None) -> None:
    """Raise ValueError unless start is None, "mean" or "noise"."""
    if start not in (None, "mean", "noise"):
        raise ValueError(f"start must be mean or noise, got {start!r}")


def _default_noise(generator: torch.Generator | None) -> Noise:
    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)

    return draw


def _time_dtype(x: Tensor) -> torch.dtype:
    """Times in single precision unless the images are in double: a denoiser may mix them without promoting its images."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _check_images(y: Tensor, x: Tensor | None) -> None:
    if y.ndim < 2 or not y.is_floating_point():
        raise ValueError(f"y must be a floating-point batch (B, ...), got {y.dtype} of shape {tuple(y.shape)}")
    if x is not None and (x.shape != y.shape or x.device != y.device):
        raise ValueError(f"x must be like y, got shape {tuple(x.shape)} for {tuple(y.shape)}")
    for name, image in (("y", y), ("x", x)):
        if image is not None and not torch.isfinite(image).all():
            raise ValueError(f"{name} holds NaN or infinite values")
