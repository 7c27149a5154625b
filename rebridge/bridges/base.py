"""The base of all bridges: three scalar functions of time and one modulation.

    x_t = alpha(t) x0 + beta(t) y + gamma(t) * modulation * eps,      eps ~ N(0, I)

Time runs over [0, 1]; t = 0 is the clean image x0, t = 1 the degraded image y. Everything else a user or a sampler needs
(forward samples, noise estimates, the probability-flow velocity, the SDE) follows from those three functions and their
derivatives, so a new bridge is one class with one method.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rebridge.bridges.coefficients import Coefficients, per_image, shown

Modulation = Literal["one", "residual", "zero"]
MODULATIONS: tuple[str, ...] = ("one", "residual", "zero")


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """A process between a clean and a degraded image.

    Subclasses give `marginal(t)` and, where it is not the time itself, the clock.

    Args:
        modulation: what multiplies the noise, pixel by pixel: "one" (ordinary bridges), "residual" (x0 - y: intact pixels
            are left alone, RDBM) or "zero" (no noise at all: flow matching along the same means).
    """

    name: ClassVar[str]
    value_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    """Range of the images inside the process; standard deviations such as `lam` are in these units."""
    generative: ClassVar[bool] = False
    """True for processes that know nothing of y: beta is 0, and they end in noise."""
    start: ClassVar[str] = "noise"
    """The first step of a sampler from t = 1 where gamma is 0 there, "mean" or "noise"; samplers may choose another."""

    modulation: Modulation = "one"

    def __post_init__(self) -> None:
        if self.modulation not in MODULATIONS:
            raise ValueError(f"modulation must be one of {', '.join(MODULATIONS)}, got {self.modulation!r}")

    @property
    def params(self) -> dict[str, Any]:
        """Parameters as JSON-able values; create(bridge.name, **params) rebuilds it."""
        return asdict(self)

    # -- the process ---------------------------------------------------------------------------------------------------

    def marginal(self, t: Tensor) -> Coefficients:
        """Compute alpha, beta and gamma, before the modulation is looked at.

        Args:
            t: times in [0, 1], float64, any shape.
        """
        raise NotImplementedError

    def clock(self, t: Tensor) -> Tensor:
        """Compute the variable in which SDE and ODE are discretised.

        It increases in t, and is the time itself by default.
        """
        return t

    def coefficients(self, t: Tensor | float) -> Coefficients:
        """Compute the factors of x_t = alpha x0 + beta y + gamma (modulation * eps).

        Args:
            t: times in [0, 1], any shape.

        Returns:
            Three float64 tensors of that shape.

        Raises:
            ValueError: times outside [0, 1] (checked for tensors on the CPU only, to keep a GPU loop free of waits).
        """
        t = torch.as_tensor(t, dtype=torch.float64)
        if t.device.type == "cpu" and t.numel() and not (t.min() >= 0 and t.max() <= 1):
            raise ValueError(f"times must lie in [0, 1], got {t.min().item():g} to {t.max().item():g}")
        c = self.marginal(t)
        # where an end is pinned, rounding may leave 1e-17 of noise: samplers need to see an exact 0
        noiseless = (c.gamma < 1e-12) if self.modulation != "zero" else torch.ones_like(c.gamma, dtype=torch.bool)
        return Coefficients(c.alpha, c.beta, torch.where(noiseless, 0.0, c.gamma))

    def derivatives(self, t: Tensor | float) -> Coefficients:
        """Compute d/d(clock) of alpha, beta and gamma by automatic differentiation.

        At a kink of a tabulated schedule it is the slope of the interval to the right; infinite where gamma meets 0.

        Args:
            t: times in [0, 1], any shape.

        Returns:
            Three float64 tensors of that shape.
        """
        t = torch.as_tensor(t, dtype=torch.float64).detach().requires_grad_(True)
        with torch.enable_grad():
            c, clock = self.coefficients(t), self.clock(t)
            rate = _slope(clock, t)
            slopes = [_slope(value, t) / rate for value in (c.alpha, c.beta, c.gamma)]
        return Coefficients(*slopes)

    # -- on images -----------------------------------------------------------------------------------------------------

    def modulate(self, x0: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """Multiply noise by the modulation: the product that enters the state.

        Args:
            x0: clean images (B, ...), or an estimate of them.
            y: degraded images (B, ...).
            noise: standard normal, (B, ...).
        """
        if self.modulation == "residual":
            return (x0 - y) * noise
        return noise if self.modulation == "one" else torch.zeros_like(noise)

    def forward(self, x0: Tensor, y: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Draw x_t given both images.

        Args:
            x0: clean images (B, ...).
            y: degraded images (B, ...).
            t: times (B,) in [0, 1].
            noise: standard normal, (B, ...).
        """
        c = self.coefficients(t).like(y)
        return c.alpha * x0 + c.beta * y + c.gamma * self.modulate(x0, y, noise)

    def noise_estimate(self, x_t: Tensor, x0_hat: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Estimate modulation * eps as (x_t - alpha x0_hat - beta y) / gamma.

        Args:
            x_t: states (B, ...).
            x0_hat: clean estimates (B, ...).
            y: degraded images (B, ...).
            t: times (B,).

        Returns:
            (B, ...); zero where gamma is 0, since there is no noise in such a state.
        """
        c = self.coefficients(t).like(y)
        deviation = x_t - c.alpha * x0_hat - c.beta * y
        return torch.where(c.gamma > 0, deviation / c.gamma.clamp(min=torch.finfo(c.gamma.dtype).tiny), 0.0)

    def velocity(self, x_t: Tensor, x0_hat: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Compute the velocity of the probability-flow ODE, per unit of the clock.

        alpha' x0_hat + beta' y + gamma' n.

        Args:
            x_t: states (B, ...).
            x0_hat: clean estimates (B, ...).
            y: degraded images (B, ...).
            t: times (B,) inside (0, 1).
        """
        d = self.derivatives(t).like(y)
        if self.noiseless:
            c = self.coefficients(t).like(y)
            return d.alpha * x0_hat + d.beta * (x_t - c.alpha * x0_hat) / c.beta
        return d.alpha * x0_hat + d.beta * y + d.gamma * self.noise_estimate(x_t, x0_hat, y, t)

    def drift(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Compute the drift of the forward SDE, (alpha'/alpha)(x - beta y) + beta' y.

        Args:
            x_t: states (B, ...).
            y: degraded images (B, ...).
            t: times (B,) in [0, 1).

        Returns:
            The drift per unit of the clock, (B, ...).
        """
        c, d = self.coefficients(t).like(y), self.derivatives(t).like(y)
        return d.alpha / c.alpha * (x_t - c.beta * y) + d.beta * y

    def training_drift(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """Compute the drift of the authors' step objective, by default `drift`."""
        return self.drift(x_t, y, t)

    def forward_std(self, t: Tensor | float) -> Tensor:
        """Compute gamma / sqrt(alpha), the noise of a Brownian bridge without its end.

        I2SB's networks predict (x_t - x0) over it.

        Args:
            t: times in [0, 1], any shape.

        Returns:
            Float64, of that shape; infinite where alpha is 0 and noise is left.
        """
        c = self.coefficients(torch.as_tensor(t, dtype=torch.float64).clamp(max=1 - 1e-9 * self.singular_end))
        return c.gamma / c.alpha.sqrt()

    @property
    def recommended(self) -> dict[str, Any]:
        """The authors' sampler as {"name": ..., **parameters}.

        `rebridge.samplers.recommended` makes it.
        """
        return {"name": "dbim", "steps": 10}

    def squared_diffusion(self, t: Tensor | float) -> Tensor:
        """Compute g^2 of the forward SDE, (gamma^2)' - 2 (alpha'/alpha) gamma^2.

        It is per unit of the clock, and multiplied by modulation^2 in the SDE.
        """
        c, d = self.coefficients(t), self.derivatives(t)
        return (2 * c.gamma * d.gamma - 2 * d.alpha / c.alpha * c.gamma.square()).clamp(min=0.0)

    def prior(self, y: Tensor, noise: Tensor) -> Tensor:
        """Draw a state at t = 1 without knowing x0.

        It is (alpha + beta) y + gamma * modulation * noise at t = 1, that is y where the factors sum to 1.

        Args:
            y: degraded images (B, ...).
            noise: standard normal, (B, ...).
        """
        c = self.coefficients(1.0)
        mean, std = (c.alpha + c.beta).item(), c.gamma.item()
        if std == 0:  # without copies of a picture that may be large
            return y if mean == 1 else mean * y
        return mean * y + std * self.modulate(y, y, noise)

    @property
    def starts_noisy(self) -> bool:
        """True if `prior` uses its noise; override it together with `prior`."""
        return self.modulation == "one" and self.coefficients(1.0).gamma.item() > 0

    def posterior_mean(self, x_t: Tensor, x0: Tensor, y: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Compute E[x_s | x_t, x0, y] of the Markov process, s < t.

        Where x_t is not informative beyond its mean (gamma = 0 or alpha = 0 at t), that of the marginal at s.

        Args:
            x_t: states (B, ...).
            x0: clean images (B, ...).
            y: degraded images (B, ...).
            t: times of the states, (B,).
            s: earlier times, (B,).
        """
        c, n = self.coefficients(t), self.coefficients(s)
        informative = (c.alpha > 0) & (c.gamma > 0)
        kept = n.gamma.square() * c.alpha / (c.gamma.square() * n.alpha).clamp(min=1e-300)
        kept = per_image(torch.where(informative, kept, 0.0).to(y), y.ndim)
        c, n = c.like(y), n.like(y)
        return n.alpha * x0 + n.beta * y + kept * (x_t - c.alpha * x0 - c.beta * y)

    def reverse_kernel(self, t: float, s: float) -> tuple[float, float, float, float] | None:
        """Give the authors' reverse step where it is not the posterior of the marginals.

        Returns:
            Factors of x0, y and x_t in the mean of x_s, s < t, and the standard deviation; None for the posterior, by Bayes.
        """
        return None

    def log_factor(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Compute decay and log-variance of (x_t - x0)/(y - x0), as if log-normal.

        For processes with alpha + beta = 1 and the residual as modulation; the factor's mean is beta, its deviation gamma.

        Args:
            t: times in [0, 1], any shape.

        Returns:
            -log(beta) and log(1 + gamma^2/beta^2), float64; infinite where beta is 0.
        """
        c = self.coefficients(t)
        return -c.beta.log(), torch.log1p((c.gamma / c.beta).square())

    # -- noise levels --------------------------------------------------------------------------------------------------

    def noise_level(self, t: Tensor | float) -> Tensor:
        """Compute the noise-to-signal ratio n = gamma / alpha.

        Args:
            t: times in [0, 1], any shape.

        Returns:
            Float64, of that shape; infinite where alpha is 0.
        """
        c = self.coefficients(t)
        return torch.where(c.alpha > 0, c.gamma / c.alpha.clamp(min=torch.finfo(torch.float64).tiny), torch.inf)

    @cached_property
    def noisiest_time(self) -> float:
        """The time of the largest noise level.

        It is 1, or earlier where the process loses its noise before its image, or as fast.
        """
        end = self.coefficients(1.0)
        times = 1 - torch.logspace(0, -15, 3001, dtype=torch.float64)
        if end.alpha.item() == 0 and end.gamma.item() == 0:
            near, nearer = self.noise_level(torch.tensor([1 - 1e-6, 1 - 1e-9], dtype=torch.float64)).tolist()
            if nearer < 2 * near:  # 0/0 with a finite limit; rounding spoils what is nearer
                return 1 - 1e-9
        if self.noise_level(1.0).item() > 0:
            return 1.0
        return times[self.noise_level(times).argmax()].item()

    @cached_property
    def level_range(self) -> tuple[float, float]:
        """The smallest and the largest noise level.

        Raises:
            ValueError: a process without noise.
        """
        if self.noiseless:
            raise ValueError(f"bridge {self.name!r} here has no noise, so no time of a generative prior fits it")
        low, high = self.noise_level(torch.tensor([0.0, self.noisiest_time], dtype=torch.float64)).tolist()
        return low, high

    def time_of_level(self, level: Tensor | float) -> Tensor:
        """The earliest time with that noise level, float64, of the level's shape.

        Raises:
            ValueError: a level that the process does not reach; the message names the nearest time.
        """
        level = torch.as_tensor(level, dtype=torch.float64)
        low, high = self.level_range
        outside = (level < low * (1 - 1e-9)) | (level > high * (1 + 1e-9)) | ~torch.isfinite(level)
        if bool(outside.any()):
            nearest = 0 if bool((level < low).any()) else self.noisiest_time
            raise ValueError(
                f"{self.name!r} has noise-to-signal ratios from {low:.4g} to {high:.4g} only, got {shown(level[outside])}; "
                f"the nearest time is {nearest:.6g}"
            )
        return self._time_of_level(level.clamp(low, high))

    def _time_of_level(self, level: Tensor) -> Tensor:
        """`time_of_level` for levels within the range: by bisection to the last bit, unless there is a closed form."""
        low, high = torch.zeros_like(level), torch.full_like(level, self.noisiest_time)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.noise_level(middle) < level
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return high

    @property
    def grid_steps(self) -> int | None:
        """The number of steps of the schedule's grid, or None for a process without one."""
        steps: int | None = self.params.get("steps")
        return steps

    @property
    def earliest_time(self) -> float:
        """The earliest time that a network is trained at.

        It is the first time of the schedule's grid, or 1e-3 without a grid.
        """
        return 1 / (self.grid_steps or 1000)

    def grid_time(self, t: Tensor | float) -> Tensor:
        """Round t up to the schedule's grid; t itself for a process without one.

        Args:
            t: times in [0, 1], any shape.

        Returns:
            Float64, of that shape.
        """
        t = torch.as_tensor(t, dtype=torch.float64)
        steps = self.grid_steps
        return t if steps is None else torch.ceil(t * steps - 1e-9).clamp(1, steps) / steps

    # -- what kind of process ------------------------------------------------------------------------------------------

    @property
    def noiseless(self) -> bool:
        """True if gamma is 0 at all times (flow matching); there is no SDE then."""
        return self.modulation == "zero"

    @property
    def pinned(self) -> bool:
        """True if the process has noise and is started in y: `prior` draws none.

        Where gamma(1) is not quite 0 (BBDM, I2SB), the small rest is no noise of the state y either.
        """
        return not self.noiseless and not self.generative and not self.starts_noisy

    @property
    def singular_end(self) -> bool:
        """True if the process has noise and gamma(1) = 0: its slopes there are infinite."""
        return not self.noiseless and self.coefficients(1.0).gamma.item() == 0.0


def _slope(value: Tensor, t: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(t)
    (slope,) = torch.autograd.grad(value.sum(), t, retain_graph=True, allow_unused=True)
    return torch.zeros_like(t) if slope is None else slope.detach()
