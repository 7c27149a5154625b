"""Schedules of IRBridge: the noise level at which a prior is evaluated.

The *critical* ratio of noise to signal is the bridge's own. The paper (arXiv 2505.24406, section 5.1 and appendix D) evaluates
at noisier times, which it states as indices 0 to 999 of Stable Diffusion 1.5; they are kept as levels of noise, so that they
mean the same for any prior. Every offset smooths: a Gaussian mode of variance c loses c (N - n')^2 / (c + N^2) of it at each
step (derived), so the schedule trades diversity and texture for PSNR, and more steps do not bring them back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rebridge.bridges.diffusion import VP
from rebridge.catalogue import check_name

REFERENCE = VP(schedule="scaled-linear")
"""The process of Stable Diffusion 1.x, on whose times the paper states its schedules."""


@dataclass(frozen=True)
class Schedule:
    """Times of the prior over times of the bridge, linear between knots.

    No time is earlier than the critical one.

    Args:
        knots: pairs (bridge time, time or offset), all in [0, 1], by increasing bridge time from 0 to 1.
        relative: the second numbers are added to the critical time; else they are times themselves.
    """

    knots: tuple[tuple[float, float], ...] = ((0.0, 0.0), (1.0, 0.0))
    relative: bool = True

    def __post_init__(self) -> None:
        times = [t for t, _ in self.knots]
        if len(times) < 2 or times != sorted(set(times)) or times[0] != 0 or times[-1] != 1:
            raise ValueError(f"the bridge times of a schedule must increase from 0 to 1, got {times}")
        if not all(0 <= s <= 1 for _, s in self.knots):
            raise ValueError(f"the generative times of a schedule must lie in [0, 1], got {[s for _, s in self.knots]}")

    @property
    def critical(self) -> bool:
        """True if the prior is always evaluated at the critical time.

        Then nothing is added, and no variance is lost.
        """
        return self.relative and all(s == 0 for _, s in self.knots)

    def level(self, t: float, critical: float) -> float:
        """Compute the noise-to-signal ratio to evaluate the prior at.

        Args:
            t: time of the bridge.
            critical: the bridge's own ratio there.
        """
        one = torch.tensor([t, critical], dtype=torch.float64)
        return self.levels(one[:1], one[1:]).item()

    def levels(self, times: Tensor, critical: Tensor) -> Tensor:
        """Compute the noise-to-signal ratios to evaluate the prior at.

        Args:
            times: of the bridge, float64, (N,).
            critical: the bridge's own ratios there.

        Returns:
            Float64, (N,).
        """
        if self.critical:
            return critical
        later = times.new_tensor([self._value(t) for t in times.tolist()])
        if self.relative:
            later = later + REFERENCE.time_of_level(critical.clamp(*REFERENCE.level_range))
        return torch.maximum(REFERENCE.noise_level(later.clamp(max=1.0)), critical)

    def _value(self, t: float) -> float:
        for (t0, s0), (t1, s1) in zip(self.knots, self.knots[1:], strict=False):
            if t <= t1:
                return s0 + (s1 - s0) * (t - t0) / (t1 - t0)
        return self.knots[-1][1]


def _fixed(*knots: tuple[float, float]) -> Schedule:
    """Knots given as (bridge step of 100, index of 1000)."""
    return Schedule(tuple((i / 100, j / 1000) for i, j in knots), relative=False)


def _added(*knots: tuple[float, float]) -> Schedule:
    return Schedule(tuple((i / 100, j / 1000) for i, j in knots), relative=True)


SCHEDULES: dict[str, Schedule] = {
    "critical": Schedule(),
    "linear-550": _fixed((0, 1), (100, 550)),
    "linear-850": _fixed((0, 1), (100, 850)),
    "flat-550": _fixed((0, 1), (50, 550), (100, 550)),
    "rise-550-850": _fixed((0, 1), (50, 850), (100, 550)),
    "flat-850": _fixed((0, 1), (50, 850), (100, 850)),
    "critical+100": _added((0, 100), (100, 100)),
    "critical+300": _added((0, 300), (100, 300)),
    "critical+300-0": _added((0, 0), (100, 300)),
    "rain": _added((0, 0), (100, 300)),
    "raindrop": _added((0, 0), (100, 300)),
    "haze": _added((0, 0), (71, 26), (100, 200)),
    "snow": _fixed((0, 1), (100, 550)),
    "lowlight": _fixed((0, 50), (50, 800), (100, 850)),
    "inpaint": _fixed((0, 1), (30, 400), (100, 800)),
}
"""The critical schedule, the eight that the paper tried (its settings 1 to 8, in that order), and its choice for each task."""

PAPERS: tuple[str, ...] = tuple(SCHEDULES)[1:9]
"""The eight that the paper tried, its settings 1 to 8."""


def schedule(choice: str | Schedule) -> Schedule:
    """Look up a schedule by name, or return the one given.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(choice, Schedule):
        return choice
    check_name("schedule", choice, SCHEDULES)
    return SCHEDULES[choice]
