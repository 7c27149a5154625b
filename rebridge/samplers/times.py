"""Time grids: the times at which a sampler stops between t = 1 and t = 0.

All return `steps` + 1 float64 times, decreasing, with the ends 1 and 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.bridges.tabulated import inverse
from rebridge.catalogue import check_name


def uniform(bridge: Bridge, steps: int) -> Tensor:
    """Space times equally: the authors' index grids."""
    return torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)


def index(bridge: Bridge, steps: int) -> Tensor:
    """Space times equally, rounded down to whole indices of the bridge's own grid.

    As RDDM's and DiffUIR's code takes them.
    """
    grid, own = uniform(bridge, steps), bridge.params.get("steps")
    return grid if own is None or own < steps else torch.floor(grid * own + 1e-9) / own


def quadratic(bridge: Bridge, steps: int) -> Tensor:
    """Square a uniform grid: short steps near the clean image."""
    return uniform(bridge, steps).square()


def quad(bridge: Bridge, steps: int) -> Tensor:
    """Space times as 1 - sqrt(i/(N - 1)) in thousandths: long steps first.

    Then 0.001 and 0. DiffPIR's "quad" (arXiv 2305.08995), on the index grid of a model of 1000 steps. One step, or more
    than 500, are spaced equally.
    """
    if steps < 2 or steps > 500:
        return uniform(bridge, steps)
    places = torch.arange(steps - 1, dtype=torch.float64) / (steps - 1)
    grid = 1 - torch.floor(1000 * places.sqrt() + 1e-9) / 1000
    return torch.cat([grid, grid.new_tensor([1e-3, 0.0])])


def cosine(bridge: Bridge, steps: int) -> Tensor:
    """Space times as (1 + cos(pi i/N)) / 2: short steps near both ends."""
    return (1 + torch.cos(torch.linspace(0.0, math.pi, steps + 1, dtype=torch.float64))) / 2


def karras(bridge: Bridge, steps: int, rho: float = 7.0, smallest: float = 1e-4) -> Tensor:
    """Space times as EDM does (arXiv 2206.00364, eq. 5).

    t^(1/rho) falls uniformly from 1 to `smallest`; then follows 0.
    """
    grid = torch.linspace(1.0, smallest ** (1 / rho), steps, dtype=torch.float64) ** rho
    return torch.cat([grid, grid.new_zeros(1)])


def log_snr(bridge: Bridge, steps: int, smallest: float = 1e-3, largest: float = 0.999) -> Tensor:
    """Space times equally in log(gamma/alpha), between t = `largest` and `smallest`.

    That is the clock in which all bridges are one.

    Raises:
        ValueError: a bridge without noise.
    """
    if bridge.noiseless:
        raise ValueError(f"the log-snr grid needs a bridge with noise, but {bridge.name!r} here has gamma = 0")
    if steps < 3:
        return uniform(bridge, steps)
    fine = torch.linspace(smallest, largest, 20_001, dtype=torch.float64)
    c = bridge.coefficients(fine)
    inner = (c.gamma > 0) & (c.alpha > 0)
    fine = fine[inner]
    level = torch.cummax(torch.log(c.gamma[inner] / c.alpha[inner]), 0).values
    wanted = torch.linspace(level[-1].item(), level[0].item(), steps - 1, dtype=torch.float64)
    between = inverse(fine, level, wanted)
    return torch.cat([fine.new_ones(1), between, fine.new_zeros(1)])


GRIDS: dict[str, Callable[[Bridge, int], Tensor]] = {
    "uniform": uniform,
    "index": index,
    "quadratic": quadratic,
    "quad": quad,
    "cosine": cosine,
    "karras": karras,
    "log-snr": log_snr,
}


def create(grid: str, bridge: Bridge, steps: int) -> Tensor:
    """Build the named grid of `steps` steps.

    Raises:
        ValueError: an unknown name, or steps below 1.
    """
    check_name("time grid", grid, GRIDS)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return GRIDS[grid](bridge, steps)


def check(times: Tensor | list[float]) -> Tensor:
    """Convert a caller's times to float64 on the CPU.

    Raises:
        ValueError: times that do not decrease strictly within [0, 1], or fewer than two.
    """
    times = torch.as_tensor(times, dtype=torch.float64).cpu()
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times must be a list of at least two times, got shape {tuple(times.shape)}")
    if not (times.diff() < 0).all() or times[0] > 1 or times[-1] < 0:
        raise ValueError("times must decrease strictly within [0, 1]")
    return times
