"""DDRM (arXiv 2201.11793): denoising in the operator's spectrum.

With x_t / a = x0 + sigma eps (sigma = b/a), all in the spectrum, xb = V^T x0_hat and yb = U^T y / s, the step to sigma_s is

    s = 0                    xb + sqrt(1 - eta^2) sigma_s (xb_t - xb)/sigma_t + eta sigma_s z
    sigma_s < sigma_y / s    xb + sqrt(1 - eta^2) sigma_s (yb - xb)/(sigma_y/s) + eta sigma_s z
    sigma_s >= sigma_y / s   (1 - eta_b) xb + eta_b yb + sqrt(sigma_s^2 - (sigma_y/s)^2 eta_b^2) z
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from rebridge.inverse.methods.base import GridMethod, check_choice
from rebridge.inverse.operators import Spectral
from rebridge.inverse.problem import Problem
from rebridge.samplers.base import Callback, Noise, Point, Walk


@dataclass(frozen=True, kw_only=True)
class DDRM(GridMethod):
    """Denoising in the operator's spectrum; needs a known decomposition.

    arXiv 2201.11793.

    Args:
        steps: of the default time grid, one call each; 20 in the paper.
        grid: its name, see `rebridge.samplers.times`.
        eta: share of fresh noise where less than the noise level is known, 0.85 in the paper.
        eta_b: share of the measurement where more is known, 1 in the paper.
        last: the image of the last step, where y has no noise: "data" fits y, by the paper's formula at sigma_s = 0; "model" is
            x0_hat, as the authors' code gives.
    """

    name: ClassVar[str] = "ddrm"
    linear_only: ClassVar[bool] = True
    needs_spectrum: ClassVar[bool] = True

    steps: int = 20
    eta: float = 0.85
    eta_b: float = 1.0
    last: Literal["data", "model"] = "data"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("last", self.last, ("data", "model"))
        if not (0 <= self.eta <= 1 and 0 <= self.eta_b <= 1):
            raise ValueError(f"eta and eta_b must lie in [0, 1], got {self.eta} and {self.eta_b}")

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        walk = Walk(problem.process, problem.denoiser, problem.blank(), noise)
        points = walk.points(times)
        if x is None:
            x = self._next(problem, walk, torch.zeros_like(walk.y), None, points[0], points[0])
        for i, (t, s) in enumerate(pairwise(points)):
            x0_hat = walk.estimate(x, t).x0
            x_next = self._next(problem, walk, x0_hat, x, t, s)
            if callback is not None:
                callback(i, t.t, x, x0_hat)
            x = x_next
        return x

    def _next(self, problem: Problem, walk: Walk, x0_hat: Tensor, x: Tensor | None, t: Point, s: Point) -> Tensor:
        """Draw the state at s; without a state x yet, the first one, which uses y wherever it is informative."""
        operator = cast(Spectral, problem.operator)
        sizes = operator.singular_values(x0_hat)
        seen = sizes > operator.cutoff * sizes.max()
        inverse = torch.where(seen, 1 / sizes.clamp(min=1e-30), 0.0)
        clean = operator.spectrum(x0_hat)
        data = operator.measurement_spectrum(problem.y) * inverse
        spread = problem.sigma_y * inverse
        sigma_t, sigma_s = t.gamma / t.alpha, s.gamma / s.alpha
        noise = torch.zeros_like(clean) if s.last else operator.spectrum(walk.noise())
        kept = (1 - self.eta**2) ** 0.5 * sigma_s
        if x is None:
            blind, kept_eta, share = torch.zeros_like(clean), 1.0, 1.0
        else:
            blind, kept_eta, share = (operator.spectrum(x / t.alpha) - clean) * (kept / sigma_t), self.eta, self.eta_b
        towards = blind if x is None else (data - clean) * (kept / spread.clamp(min=1e-30))
        rough = clean + torch.where(seen, towards, blind) + kept_eta * sigma_s * noise
        remaining = (sigma_s**2 - (spread * share) ** 2).clamp(min=0.0).sqrt()
        sharp = (1 - share) * clean + share * data + remaining * noise
        informative = seen & ((spread < sigma_s) if self.last == "model" else (spread <= sigma_s))
        return s.alpha * operator.image(torch.where(informative, sharp, rough))
