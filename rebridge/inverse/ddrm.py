"""DDRM (arXiv 2201.11793): denoising in the operator's spectrum, one singular value at a time.

With x_t / a = x0 + sigma eps (sigma = b/a), all in the spectrum, xb = V^T x0_hat and yb = U^T y / s, the step to sigma_s is

    s = 0                    xb + sqrt(1 - eta^2) sigma_s (xb_t - xb)/sigma_t + eta sigma_s z
    sigma_s < sigma_y / s    xb + sqrt(1 - eta^2) sigma_s (yb - xb)/(sigma_y/s) + eta sigma_s z
    sigma_s >= sigma_y / s   (1 - eta_b) xb + eta_b yb + sqrt(sigma_s^2 - (sigma_y/s)^2 eta_b^2) z
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.inverse.guidance import check_generative, check_measurement
from rebridge.inverse.operators import Spectral
from rebridge.samplers.base import Point, Sampler, Walk


@dataclass(frozen=True, kw_only=True)
class SpectralWalk(Sampler):
    """The sampler that is its own guidance: it walks a generative process with the plain prior as denoiser.

    operator: one with a known decomposition. measurement: (B, ...). sigma_y: standard deviation of its noise.
    eta, eta_b: the paper's, 0.85 and 1. steps: 20 in the paper.
    """

    name: ClassVar[str] = "ddrm"

    operator: Spectral
    measurement: Tensor
    sigma_y: float = 0.0
    eta: float = 0.85
    eta_b: float = 1.0
    steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.operator, Spectral):
            raise ValueError("ddrm needs an operator with a known singular value decomposition; use nrlg for this one")
        check_measurement(self.operator, self.measurement)
        if not (0 <= self.eta <= 1 and 0 <= self.eta_b <= 1):
            raise ValueError(f"eta and eta_b must lie in [0, 1], got {self.eta} and {self.eta_b}")
        if self.sigma_y < 0:
            raise ValueError(f"sigma_y must be at least 0, got {self.sigma_y}")

    def check(self, bridge: Bridge) -> None:
        check_generative(bridge)

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        if x is not None:
            return x, times
        first = walk.points(times)[0]
        return self._drawn(walk, torch.zeros_like(walk.y), None, first, first), times

    def step(self, walk: Walk, x: Tensor, t: Point, s: Point) -> Tensor:
        return self._drawn(walk, walk.estimate(x, t).x0, x, t, s)

    def _drawn(self, walk: Walk, x0_hat: Tensor, x: Tensor | None, t: Point, s: Point) -> Tensor:
        """The state at s; without a state x yet, the first one, which trusts y wherever y says more than nothing."""
        operator = self.operator
        sizes = operator.singular_values(x0_hat)
        seen = sizes > operator.cutoff * sizes.max()
        inverse = torch.where(seen, 1 / sizes.clamp(min=1e-30), 0.0)
        clean = operator.spectrum(x0_hat)
        data = operator.measurement_spectrum(self.measurement) * inverse
        spread = self.sigma_y * inverse
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
        return s.alpha * operator.image(torch.where(seen & (spread <= sigma_s), sharp, rough))
