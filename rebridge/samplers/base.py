"""The base of all samplers: a rule for one step, called from t = 1 down to t = 0.

Read me first: a run of `dbim`, order 1 and eta 0, in twelve lines. `Sampler.__call__` below does this and nothing else;
everything beside it serves a special case (a pinned end, fresh noise, a second evaluation in a step).

    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)      # Sampler.times
    c = bridge.coefficients(grid)                                    # Walk.points: all numbers before the loop
    x = bridge.prior(y, torch.randn_like(y))                         # Sampler.begin: y, or y and its terminal noise
    for i in range(steps):                                           # Sampler.step(walk, x, t, s) with t = i, s = i + 1
        t = torch.full((len(y),), grid[i])
        x0_hat = denoiser(x, t, y)                                   # Walk.estimate: one network evaluation
        if not (grid[i] == 1 and bridge.pinned):
            n = (x - c.alpha[i] * x0_hat - c.beta[i] * y) / c.gamma[i]
        else:                                                        # leave_end: y holds no noise to estimate
            n = bridge.modulate(x0_hat, y, torch.randn_like(y)) if bridge.start == "noise" else 0
        x = c.alpha[i + 1] * x0_hat + c.beta[i + 1] * y + c.gamma[i + 1] * n   # marginal_step

A step sees the state, the two times as `Point`s (all coefficients there, as plain numbers computed once in float64 before the
loop begins, so that nothing waits for the device inside it) and the `Walk`, which evaluates the denoiser and draws noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, wraps
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from rebridge.bridges import Bridge, check_bridge
from rebridge.catalogue import check_name
from rebridge.denoisers import Denoiser, Estimate, as_estimate
from rebridge.denoisers.parameterization import check_one_step
from rebridge.samplers import times as grids

Kept = TypeVar("Kept")
Noise = Callable[[Tensor], Tensor]
Callback = Callable[[int, float, Tensor, Tensor], None]


@dataclass(frozen=True)
class Point:
    """A time of the grid, with the process there.

    Attributes:
        t: the time.
        clock: the bridge's clock.
        alpha: factor of x0.
        beta: factor of y.
        gamma: factor of modulation * eps.
        alpha_slope: d alpha / d clock; slopes are there for samplers with `needs_slopes` only.
        beta_slope: d beta / d clock.
        gamma_slope: d gamma / d clock.
        diffusion: g^2 per unit of the clock.
        last: True if sampling ends here.
    """

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
    """True if sampling ends here."""


class Walk:
    """One run of a sampler: its inputs, and the estimates made so far.

    Args:
        bridge: the process.
        denoiser: called as denoiser(x_t, t, y).
        y: degraded images (B, ...) in the bridge's range.
        noise: called like torch.randn_like, for every random tensor.
        remembered: most estimates in `history`.
    """

    def __init__(self, bridge: Bridge, denoiser: Denoiser, y: Tensor, noise: Noise, remembered: int = 3) -> None:
        self.bridge = bridge
        self._remembered = remembered
        self.y = y
        self._denoiser = denoiser
        self._noise = noise
        self.calls = 0
        self.history: list[tuple[Point, Tensor]] = []
        """Clean estimates with the points they were made at, newest last; at most the last `Sampler.remembered`."""
        self.first: Tensor | None = None
        """The first clean estimate, where the sampler comes back to it."""
        self.inner: dict[Point, Point] = {}
        """The point inside the interval after each, for samplers with `inner_times`."""
        self.plan: dict[Point, Any] = {}
        """What `Sampler.plan` computes before the steps, by the point where each begins."""

    def estimate(self, x: Tensor, t: Point, remember: bool = True) -> Estimate:
        """Evaluate the denoiser at a point.

        Args:
            x: states (B, ...).
            t: the point.
            remember: put the estimate into the history (predictor stages do not).
        """
        time = torch.full((len(x),), t.t, dtype=_time_dtype(x), device=x.device)
        estimate = as_estimate(self._denoiser(x, time, self.y))
        self.calls += 1
        if remember:
            self.history = [*self.history, (t, estimate.x0)][-self._remembered :]
        return estimate

    def noise(self) -> Tensor:
        """Draw a standard normal tensor of the image's shape."""
        return self._noise(self.y)

    def points(self, times: Tensor, slopes: bool = False) -> list[Point]:
        """Evaluate the process at float64 times.

        Args:
            times: decreasing, (N,).
            slopes: also compute slopes and diffusion (infinite or nan at singular ends).
        """
        return list(_points_at(self.bridge, tuple(times.tolist()), slopes))


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A way from the degraded to the clean image; subclasses give `step`.

    Args:
        steps: number of steps of the default grid, at least 1.
        grid: "uniform", "index", "quadratic", "quad", "cosine", "karras" or "log-snr".
    """

    name: ClassVar[str]
    needs_slopes: ClassVar[bool] = False
    """True if `step` uses slopes and diffusion."""
    needs_noise: ClassVar[bool] = False
    """True if the sampler makes no sense on a noiseless bridge."""
    evaluates_prior: ClassVar[bool] = False
    """True if `denoiser` is that of another process, a pretrained prior's, and the sampler carries states over itself."""
    walks_prior: ClassVar[bool] = False
    """True if the sampler follows a pretrained prior's own process, and no restoration bridge."""

    remembered: ClassVar[int] = 3
    """Most estimates that `walk.history` keeps, each as large as the images; at least 1."""

    steps: int = 10
    grid: str = "uniform"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        check_name("time grid", self.grid, grids.GRIDS)

    @property
    def params(self) -> dict[str, Any]:
        """Parameters as JSON-able values; create(sampler.name, **params) rebuilds it."""
        return asdict(self)

    @property
    def order(self) -> int:
        """Order of convergence on a smooth problem, in a run whose fresh noise is 0.

        For some samplers it is a parameter.
        """
        return 1

    @property
    def calls_per_step(self) -> int:
        """Network evaluations in a step between times inside (0, 1).

        The step from a pinned end and the step to t = 0 may take fewer.
        """
        return 1

    def fits(self, bridge: Bridge) -> bool:
        """Test if this sampler can follow a bridge, and does not run away on it."""
        try:
            self.check(bridge)
        except ValueError:
            return False
        return not self.runs_away(bridge)

    def runs_away(self, bridge: Bridge) -> bool:
        """Test if the steps of the default grid are too long for the slopes of a bridge."""
        from rebridge.samplers.stability import LARGEST_SOUND, largest_value

        return self.needs_slopes and largest_value(self, bridge) > LARGEST_SOUND

    def check(self, bridge: Bridge) -> None:
        """Raise ValueError for a bridge that does not fit, or that is none."""
        _check_bridge(bridge)
        if self.needs_noise and bridge.noiseless:
            raise ValueError(
                f"sampler {self.name!r} needs a bridge with noise, but {bridge.name!r} here has gamma = 0; use dbim or ode"
            )

    def for_model(self, process: Bridge, earliest: float) -> Sampler:
        """Adapt the sampler to a model; itself unless it depends on the model.

        Args:
            process: what the model was trained on.
            earliest: the earliest time it was trained at.
        """
        return self

    def times(self, bridge: Bridge) -> Tensor:
        """Compute the default time grid: float64, decreasing to 0."""
        return grids.create(self.grid, bridge, self.steps)

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the state to start from and the times to stop at.

        By default the bridge's own state at t = 1, and the times as they are.

        Args:
            walk: the run.
            x: the state at times[0], (B, ...), if the caller gave one.
            times: decreasing, (N,).
        """
        return (walk.bridge.prior(walk.y, self._prior_noise(walk)) if x is None else x), times

    def inner_times(self, bridge: Bridge, times: Tensor) -> Tensor:
        """Choose one more time inside each interval, found in `walk.inner[t]` by `step`.

        Args:
            bridge: the process.
            times: decreasing, (N,).

        Returns:
            (N - 1,) times; none by default.
        """
        return times[:0]

    def plan(self, bridge: Bridge, points: list[Point]) -> dict[Point, Any]:
        """Compute what steps need beyond a `Point`, found by `planned` in `step`.

        So nothing waits for the device inside the loop.

        Args:
            bridge: the process.
            points: where steps begin and end, (N,).

        Returns:
            What each step needs, by the point where it begins; nothing by default.
        """
        return {}

    def planned(self, walk: Walk, t: Point, s: Point) -> Any:
        """Return the plan of the step from t to s.

        It is computed now where a step is taken by itself.
        """
        if t not in walk.plan:
            walk.plan |= self.plan(walk.bridge, [t, s])
        return walk.plan[t]

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        """Take one step.

        Args:
            walk: the run.
            x: the state at t, (B, ...).
            t: where the step begins.
            s: where it ends, an earlier time.

        Returns:
            The state at s, (B, ...).
        """
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
        """Restore images.

        Args:
            bridge: the process.
            denoiser: called as denoiser(x_t, t, y), see `rebridge.denoisers.Denoiser`.
            y: degraded images (B, ...) in the bridge's value range.
            x: state at times[0]; by default what the bridge prescribes (y, or y plus its terminal noise).
            times: decreasing times in [0, 1] to use instead of the grid.
            noise: callable like torch.randn_like that supplies every random tensor, in the order drawn.
            generator: for the default noise; on y's device.
            callback: called after each step with (step, t, x_t, x0_hat), the state before the step and its clean estimate.

        Returns:
            A tensor of y's shape and dtype.

        Raises:
            ValueError: an impossible pair of sampler and bridge, bad times, or y and x that are not alike or not finite.
        """
        self.check(bridge)
        _check_images(y, x)
        if times is None and self.runs_away(bridge):
            warnings.warn(
                f"sampler {self.name!r} runs away on {bridge.name!r} with {self.steps} steps: take more steps, or dbim",
                stacklevel=2,
            )
        grid = self.times(bridge) if times is None else grids.check(times)
        walk = Walk(bridge, denoiser, y, noise or _default_noise(generator), self.remembered)
        x, grid = self.begin(walk, x, grid)
        check_one_step(denoiser, grid)
        points = walk.points(grid, self.needs_slopes)
        walk.plan = self.plan(bridge, points)
        inner = self.inner_times(bridge, grid)
        if len(inner):
            found = walk.points(inner, self.needs_slopes)
            walk.inner = {t: replace(middle, last=False) for t, middle in zip(points[:-1], found, strict=True)}
        for i, (t, s) in enumerate(pairwise(points)):
            before = x if callback is not None else None
            state = [x]
            del x
            x = self.step(walk, state.pop(), t, s)  # which may so give up the state before its end
            if callback is not None and before is not None:
                callback(i, t.t, before, walk.history[-1][1])
        return x

    def _prior_noise(self, walk: Walk) -> Tensor:
        """Noise for the state at t = 1, drawn only where the bridge uses it."""
        return walk.noise() if walk.bridge.starts_noisy else walk.y.new_zeros(()).expand_as(walk.y)


def remembered(function: Callable[..., Kept]) -> Callable[..., Kept]:
    """Remember what a function of samplers and processes returns.

    Arguments that are no keys, as processes of tables, are worked out each time.
    """
    kept = lru_cache(maxsize=64)(function)

    @wraps(function)
    def call(*arguments: Any) -> Kept:
        try:
            hash(arguments)
        except TypeError:
            return function(*arguments)
        return kept(*arguments)

    return call


_check_bridge = remembered(check_bridge)


@remembered
def _points_at(bridge: Bridge, grid: tuple[float, ...], slopes: bool) -> list[Point]:
    times = torch.tensor(grid, dtype=torch.float64)
    c = bridge.coefficients(times)
    columns = [times, bridge.clock(times), c.alpha, c.beta, c.gamma]
    if slopes:
        d = bridge.derivatives(times)
        columns += [d.alpha, d.beta, d.gamma, bridge.squared_diffusion(times)]
    points = [Point(*row) for row in torch.stack(columns, 1).tolist()]
    return [*points[:-1], replace(points[-1], last=True)]


def _default_noise(generator: torch.Generator | None) -> Noise:
    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)

    return draw


def _time_dtype(x: Tensor) -> torch.dtype:
    """Times in single precision unless the images are in double: a denoiser may mix them without promoting its images."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _check_images(y: Tensor, x: Tensor | None) -> None:
    if not isinstance(y, Tensor):
        raise TypeError(f"y must be a torch tensor, got {type(y).__name__}")
    if y.ndim < 2 or not y.is_floating_point():
        raise ValueError(f"y must be a floating-point batch (B, ...), got {y.dtype} of shape {tuple(y.shape)}")
    if x is not None and (x.shape != y.shape or x.device != y.device):
        raise ValueError(f"x must be like y, got shape {tuple(x.shape)} for {tuple(y.shape)}")
    for name, image in (("y", y), ("x", x)):
        if image is not None and not torch.isfinite(image).all():
            raise ValueError(f"{name} holds NaN or infinite values")
