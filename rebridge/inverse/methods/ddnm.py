"""DDNM and DDNM+ (arXiv 2212.00490): every clean estimate fits y.

As exactly as its noise allows:

    x0~ = x0_hat + A^+ (y - A x0_hat),        x_s = a_s x0~ + eta b_s z + sqrt(1 - eta^2) b_s eps

DDNM+ is that in the operator's spectrum, with its noise told from the state's. For a singular value s and q = a_s s_y / s,

    s = 0       as above
    b_s < q     x0~ goes sqrt(1 - eta^2) b_s / q of the way to the data, and the noise added is eta b_s z
    b_s >= q    x0~ goes all the way, and the noise added is sqrt(b_s^2 - q^2) z

z is white in the spectrum as it is in the image, and is drawn there where the spectrum is real, as in the authors' code.
Time travel walks `travel_length` steps back up, `travel_repeat` - 1 times every `travel_length` steps, by drawing the states
there from the last x0_hat.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor

from rebridge.inverse.methods.base import check_at_least, check_share
from rebridge.inverse.methods.guided import GuidedMethod, Proximal
from rebridge.inverse.operators import Measures, Operator, Spectral
from rebridge.inverse.problem import Problem
from rebridge.samplers.base import Callback, Noise, Point, Walk


@dataclass(frozen=True, kw_only=True)
class DDNM(GuidedMethod):
    """Null-space guidance, and DDNM+ for noisy measurements.

    arXiv 2212.00490.

    Args:
        steps: of the default time grid, one call each.
        grid: its name, see `rebridge.samplers.times`.
        eta: each step draws eta^2 of the noise's variance anew, 0.85 in the paper; 0 is deterministic.
        plus: DDNM+; by default where the measurement has noise and the operator a spectrum. Without it every estimate fits y
            exactly, its noise too.
        travel_length: steps walked back at a time, 1 in most of the authors' settings.
        travel_repeat: times that each stretch is walked; 1 never goes back.
        compat: in DDNM+, take the model's noise for spectral coefficients as it is, as the authors' code does.
    """

    name: ClassVar[str] = "ddnm"

    eta: float = 0.85
    plus: bool | None = None
    travel_length: int = 1
    travel_repeat: int = 1
    compat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(eta=self.eta)
        check_at_least(1, travel_length=self.travel_length, travel_repeat=self.travel_repeat)

    @property
    def fresh(self) -> float:
        """Share of the noise's variance that each step draws anew."""
        return self.eta**2

    @property
    def calls_of_one(self) -> int:
        """Evaluations of the network for one of the results that are averaged, exactly."""
        return sum(j > i for i, j in pairwise(itinerary(self.steps, self.travel_length, self.travel_repeat)))

    def check(self, operator: Operator) -> None:
        super().check(operator)
        if self.plus and not operator.has_spectrum:
            raise ValueError(
                f"ddnm:plus=true needs the singular value decomposition of the operator, and {operator.name} has none: use nrlg"
            )

    def reproduces_noise(self, operator: Operator) -> bool:
        return self.plus is False or not operator.has_spectrum

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> Proximal:
        """Make the correction of DDNM: a proximal step of infinite trust."""
        return Proximal(operator, y)

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        spectral = problem.sigma_y > 0 and problem.operator.has_spectrum
        plus = self.plus if self.plus is not None else spectral
        if not plus and self.travel_repeat == 1:
            return super().solve(problem, times, noise, x, callback)
        walk = Walk(problem.process, problem.denoiser, problem.blank(), noise)
        points = walk.points(times)
        if x is None:
            x = problem.process.prior(walk.y, walk.noise())
        draws = self.eta > 0 or plus or self.travel_repeat > 1
        x0_hat = torch.zeros_like(x)
        for step, (i, j) in enumerate(pairwise(itinerary(len(points) - 1, self.travel_length, self.travel_repeat))):
            t, s = points[i], points[j]
            if j < i:
                x = s.alpha * x0_hat + s.gamma * walk.noise()
                continue
            estimate = walk.estimate(x, t)
            x0_hat = estimate.x0
            eps = (x - t.alpha * x0_hat) / t.gamma
            z = walk.noise() if draws else torch.zeros_like(x)
            found, x_s = self._plus(problem, x0_hat, eps, z, s) if plus else self._plain(problem, x0_hat, eps, z, s)
            if callback is not None:
                callback(step, t.t, x, found)
            x = x_s
        return x

    def _plain(self, problem: Problem, x0_hat: Tensor, eps: Tensor, z: Tensor, s: Point) -> tuple[Tensor, Tensor]:
        """The corrected estimate and the state at s."""
        x0 = problem.operator.prox_l2(x0_hat, problem.y, float("inf"))
        return x0, s.alpha * x0 + s.gamma * (self.eta * z + (1 - self.eta**2) ** 0.5 * eps)

    def _plus(self, problem: Problem, x0_hat: Tensor, eps: Tensor, z: Tensor, s: Point) -> tuple[Tensor, Tensor]:
        """The same of DDNM+."""
        operator = cast(Spectral, problem.operator)
        sizes = operator.singular_values(x0_hat)
        seen = sizes > operator.cutoff * sizes.max()
        inverse = torch.where(seen, 1 / sizes.clamp(min=1e-30), 0.0)
        clean = operator.spectrum(x0_hat)
        missing = torch.where(seen, operator.measurement_spectrum(problem.y) * inverse - clean, 0.0)
        spread = s.alpha * problem.sigma_y * inverse
        quiet, kept = self.eta * s.gamma, (1 - self.eta**2) ** 0.5 * s.gamma
        below = seen & (spread > s.gamma)
        pull = torch.where(below, kept / spread.clamp(min=1e-30), 1.0)
        sharp = seen & ~below
        added = torch.where(sharp, (s.gamma**2 - spread.square()).clamp(min=0.0).sqrt(), quiet)
        white = operator.spectrum(z) if clean.is_complex() else z.reshape(clean.shape)
        old = eps.reshape(clean.shape) if self.compat and not clean.is_complex() else operator.spectrum(eps)
        x0 = operator.image(clean + pull * missing)
        return x0, s.alpha * x0 + operator.image(added * white + torch.where(seen, 0.0, kept * old))


def itinerary(steps: int, length: int = 1, repeat: int = 1) -> list[int]:
    """List the places of a time grid in the order of a walk with time travel.

    From 0 to `steps`. As in RePaint's schedule, which DDNM takes over: of the places counted from the end, every `length`-th one
    but the last of them sends the walk `length` places back, `repeat` - 1 times.

    Args:
        steps: number of steps of the grid.
        length: places walked back.
        repeat: times that a stretch is walked.
    """
    jumps = dict.fromkeys(range(0, steps - length, length), repeat - 1)
    left, places = steps, []
    while left >= 1:
        left -= 1
        places.append(left)
        if jumps.get(left, 0) > 0:
            jumps[left] -= 1
            for _ in range(length):
                left += 1
                places.append(left)
    return [steps - 1 - place for place in [*places, -1]]
