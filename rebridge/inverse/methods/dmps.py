"""DMPS (arXiv 2211.12343): the likelihood's score in closed form.

With a flat prior, x0 given x_t is x_t / a up to a variance v = b^2 / a^2, so that the score needs no gradient through the model,

    score = A^T (s_y^2 I + v A A^T)^-1 (y - A x_t / a) / a,        x_s = ancestral step + scale (1 - r) / sqrt(r) score,

with r = a_t^2 / a_s^2 of a variance-preserving process. In any process this is

    x_s = ancestral step + a_s w (prox(x_t / a) - x_t / a),        w = scale (1 - q),  q = (a_t b_s)^2 / (a_s b_t)^2,

with the proximal step of trust v / s_y^2 (derived; equal to the authors' where b^2 = 1 - a^2). Without noise in y, w stays at
most 1: more would overshoot the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from torch import Tensor

from rebridge.inverse.methods.base import GridMethod, check_choice, check_positive
from rebridge.inverse.problem import Problem
from rebridge.samplers.base import Callback, Noise, Point, Walk
from rebridge.samplers.steps import markov_std


@dataclass(frozen=True, kw_only=True)
class DMPS(GridMethod):
    """Ancestral sampling with a likelihood score in closed form.

    arXiv 2211.12343.

    Args:
        steps: of the default time grid, one call each; 1000 in the paper.
        grid: its name, see `rebridge.samplers.times`.
        scale: of the score, 1.75 in the authors' settings.
        at: where the score is taken, in the "state" x_t, as in the paper, or in the "sample" that the ancestral step drew, as
            in the authors' code.
    """

    name: ClassVar[str] = "dmps"

    scale: float = 1.75
    at: Literal["state", "sample"] = "state"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(scale=self.scale)
        check_choice("at", self.at, ("state", "sample"))

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        walk = Walk(problem.process, problem.denoiser, problem.blank(), noise)
        points = walk.points(times)
        if x is None:
            x = problem.process.prior(walk.y, walk.noise())
        for i, (t, s) in enumerate(pairwise(points)):
            x0_hat = walk.estimate(x, t).x0
            if callback is not None:
                callback(i, t.t, x, x0_hat)
            added = 0.0 if s.last else markov_std(t, s)
            kept = max(s.gamma**2 - added**2, 0.0) ** 0.5 / t.gamma
            sample = (s.alpha - kept * t.alpha) * x0_hat + kept * x
            if added > 0:
                sample = sample + added * walk.noise()
            x = sample + self._pull(problem, x if self.at == "state" else sample, t, s)
        return x

    def _pull(self, problem: Problem, x: Tensor, t: Point, s: Point) -> Tensor:
        """The move by the score at x."""
        if t.alpha == 0:
            return problem.blank()
        share = self.scale * (1 - (t.alpha * s.gamma / (s.alpha * t.gamma)) ** 2)
        sigma = problem.sigma_y
        trust = math.inf if sigma == 0 else (t.gamma / (t.alpha * sigma)) ** 2
        z = x / t.alpha
        moved = problem.operator.prox_l2(z, problem.y, trust) - z
        return (s.alpha * (min(share, 1.0) if sigma == 0 else share)) * moved
