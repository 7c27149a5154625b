"""Schedules: clocks on a grid of T equal steps.

A clock runs from 0 and says how a process spends its time.

Between grid points a clock is linear (its rate theta is constant there), so it is defined for every t in [0, 1] and equals
the authors' arrays at t = i/T exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rebridge.bridges.tabulated import inverse


class Clock:
    """A non-decreasing function on [0, 1], linear between grid points 0, 1/T, ..., 1.

    Args:
        values: (T + 1,) float64, the clock at i/T.
    """

    def __init__(self, values: Tensor) -> None:
        """values: (T + 1,) float64, the clock at i/T."""
        self.values = values

    @classmethod
    def from_increments(cls, increments: Tensor) -> Clock:
        """Build the clock that starts at 0 and grows by increments[i] over step i.

        Args:
            increments: (T,) float64.
        """
        return cls(torch.cat([increments.new_zeros(1), increments.cumsum(0)]))

    @property
    def end(self) -> Tensor:
        """The clock at t = 1."""
        return self.values[-1]

    def time_of(self, wanted: Tensor) -> Tensor:
        """Find the times at which the clock has the wanted values, any shape."""
        points = torch.linspace(0.0, 1.0, len(self.values), dtype=self.values.dtype)
        return inverse(points, self.values, wanted)

    def __call__(self, t: Tensor) -> Tensor:
        """Evaluate the clock at times t in [0, 1], any shape."""
        values = self.values.to(t.device)
        steps = len(values) - 1
        position = t * steps
        left = position.detach().floor().clamp(0, steps - 1)
        index = left.long()
        return values[index] + (position - left) * (values[index + 1] - values[index])


def cosine_rates(steps: int) -> Tensor:
    """Compute the cosine schedule of RDBM's code.

    theta_i = 1 - f((i+1)/T)/f(i/T) capped at 0.999, with f(u) = cos^2((u + 0.008)/1.008 pi/2); (T,).
    """
    f = _squared_cosine(torch.arange(steps + 1, dtype=torch.float64) / steps)
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def linear_rates(steps: int) -> Tensor:
    """Compute the linear schedule of the IR-SDE and GOUB code.

    It has T + 1 points from 0.1/T to 20/T, DDPM's range, and the first is left out; (T,).
    """
    return torch.linspace(0.1, 20.0, steps + 1, dtype=torch.float64)[1:] / steps


def whole_linear_rates(steps: int) -> Tensor:
    """Compute rates from 0.1/T to 20/T along a line of T points, both included; (T,)."""
    return torch.linspace(0.1, 20.0, steps, dtype=torch.float64) / steps


def sigmoid_rates(steps: int) -> Tensor:
    """Compute rates between 0.1/T and 20/T along a sigmoid over [-6, 6]; (T,)."""
    rise = torch.sigmoid(torch.linspace(-6.0, 6.0, steps, dtype=torch.float64))
    return (0.1 + 19.9 * rise) / steps


def constant_rates(steps: int) -> Tensor:
    """Compute equal rates with the sum of the linear schedule, 10.05; (T,)."""
    return torch.full((steps,), 10.05 / steps, dtype=torch.float64)


def cumulative_cosine_rates(steps: int) -> Tensor:
    """Compute the cosine schedule of the IR-SDE and GOUB code.

    theta_i = 1 - f(i/(T+2)) for i = 2..T+1, that is without its first value; (T,).
    """
    points = torch.arange(steps + 3, dtype=torch.float64) / (steps + 2)
    f = _squared_cosine(points)
    return (1 - f / f[0])[2:-1]


RATES: dict[str, Callable[[int], Tensor]] = {
    "cosine": cosine_rates,
    "linear": linear_rates,
    "linear-authors": linear_rates,
    "linear-whole": whole_linear_rates,
    "sigmoid": sigmoid_rates,
    "constant": constant_rates,
}


def theta_clock(schedule: str, steps: int, eps: float | None = None, cumulative: bool = False) -> Clock:
    """Build tb(t), the integral of theta from 0 to t, on a grid of `steps`.

    Args:
        schedule: "cosine", "linear" (as in the IR-SDE family's code, also called "linear-authors"), "linear-whole", "sigmoid" or
            "constant".
        steps: grid steps, at least 1.
        eps: if given, the clock is scaled so that exp(-tb(1)) = eps (the IR-SDE family); else the rates are summed as they are.
        cumulative: use the IR-SDE family's variant of the cosine schedule.

    Raises:
        ValueError: an unknown schedule, steps below 1 or eps outside (0, 1).
    """
    if schedule not in RATES:
        raise ValueError(f"schedule must be one of {', '.join(RATES)}, got {schedule!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    rates = cumulative_cosine_rates(steps) if cumulative and schedule == "cosine" else RATES[schedule](steps)
    if eps is not None:
        if not 0 < eps < 1:
            raise ValueError(f"eps must lie strictly between 0 and 1, got {eps}")
        rates = rates * (-math.log(eps) / rates.sum())
    return Clock.from_increments(rates)


def _squared_cosine(u: Tensor) -> Tensor:
    return torch.cos((u + 0.008) / 1.008 * math.pi / 2).square()
