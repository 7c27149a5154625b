"""Solvers that walk the prior's process step by step under guidance: DDNM, DDS, DiffPIR, noise-refined, DPS, Pi-GDM, DDRM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rebridge.catalogue import check_name
from rebridge.inverse import ddrm
from rebridge.inverse.guidance import (
    Guidance,
    Guided,
    Posterior,
    PseudoInverse,
    Reuse,
    Variance,
    ddnm,
    dds,
    diffpir,
    nrlg,
)
from rebridge.inverse.problem import Callback, Noise, Problem, Solver
from rebridge.samplers import times as grids
from rebridge.samplers.dbim import DBIM


@dataclass(frozen=True, kw_only=True)
class Walker(Solver):
    """DDIM with the prior's estimates corrected by a guidance.

    steps: of the time grid, one call each. grid: see `rebridge.samplers.times`.
    """

    steps: int = 100
    grid: str = "uniform"

    def __post_init__(self) -> None:
        DBIM(steps=self.steps, grid=self.grid)

    @property
    def calls(self) -> int:
        return self.steps

    @property
    def fresh(self) -> float:
        """Share of the noise's variance that each step draws anew."""
        return 0.0

    def guidance(self, problem: Problem) -> Guidance:
        """What corrects the estimates."""
        raise NotImplementedError

    def __call__(self, problem: Problem, noise: Noise = torch.randn_like, callback: Callback | None = None) -> Tensor:
        guided = Guided(problem.prior, self.guidance(problem), problem.bridge, self.fresh, noise)
        walk = DBIM(steps=self.steps, grid=self.grid)
        return walk(problem.bridge, guided, problem.blank(), noise=noise, callback=callback)


@dataclass(frozen=True, kw_only=True)
class DDNM(Walker):
    """Null-space guidance: every estimate fits y exactly, its noise too (arXiv 2212.00490).

    eta: each step draws eta^2 of the noise's variance anew, 0.85 in the paper; 0 is deterministic.
    """

    name: ClassVar[str] = "ddnm"

    eta: float = 0.85

    @property
    def fresh(self) -> float:
        return self.eta**2

    def guidance(self, problem: Problem) -> Guidance:
        return ddnm(problem.operator, problem.y)


@dataclass(frozen=True, kw_only=True)
class DDS(Walker):
    """Decomposed diffusion sampling: a proximal step of constant trust gamma (arXiv 2303.05754)."""

    name: ClassVar[str] = "dds"

    gamma: float = 10.0
    eta: float = 0.0

    @property
    def fresh(self) -> float:
        return self.eta**2

    def guidance(self, problem: Problem) -> Guidance:
        return dds(problem.operator, problem.y, self.gamma)


@dataclass(frozen=True, kw_only=True)
class DiffPIR(Walker):
    """Plug-and-play restoration (arXiv 2305.08995). lam: weight of the prior; zeta: share of fresh noise."""

    name: ClassVar[str] = "diffpir"

    lam: float = 7.0
    zeta: float = 0.3

    @property
    def fresh(self) -> float:
        return self.zeta

    def guidance(self, problem: Problem) -> Guidance:
        return diffpir(problem.operator, problem.y, problem.sigma_y, self.lam)


@dataclass(frozen=True, kw_only=True)
class NoiseRefined(Walker):
    """Noise-refined likelihood guidance, in closed form, without back-propagation (arXiv 2506.13391, derived).

    variance: of x0 given x_t, "unit" for b^2/(a^2 + b^2) or "flat" for b^2/a^2. reuse: "refined" noise, or the "model"'s.
    """

    name: ClassVar[str] = "nrlg"

    variance: Variance = "unit"
    reuse: Reuse = "refined"

    def guidance(self, problem: Problem) -> Guidance:
        return nrlg(problem.operator, problem.y, problem.sigma_y, self.variance, self.reuse)


@dataclass(frozen=True, kw_only=True)
class DPS(Walker):
    """Diffusion posterior sampling: the gradient of |y - A x0_hat| through the prior (arXiv 2209.14687).

    scale: step size; the paper's 0.3 to 1 belong to 1000 steps. eta: as DDNM's, 1 is the paper's ancestral sampling.
    """

    name: ClassVar[str] = "dps"
    linear_only: ClassVar[bool] = True
    differentiates: ClassVar[bool] = True

    scale: float = 1.0
    eta: float = 0.0

    @property
    def fresh(self) -> float:
        return self.eta**2

    def guidance(self, problem: Problem) -> Guidance:
        return Posterior(problem.operator, problem.y, self.scale)


@dataclass(frozen=True, kw_only=True)
class PiGDM(Walker):
    """Pseudo-inverse guidance: the proximal correction pulled back through the prior (ICLR 2023). reuse: see `PseudoInverse`."""

    name: ClassVar[str] = "pigdm"
    differentiates: ClassVar[bool] = True

    reuse: Reuse = "model"

    def guidance(self, problem: Problem) -> Guidance:
        return PseudoInverse(problem.operator, problem.y, problem.sigma_y, self.reuse)


@dataclass(frozen=True, kw_only=True)
class DDRM(Solver):
    """Denoising in the operator's spectrum (arXiv 2201.11793); needs an operator with a known decomposition.

    eta, eta_b: the paper's. steps: of the time grid, one call each; 20 in the paper.
    """

    name: ClassVar[str] = "ddrm"
    linear_only: ClassVar[bool] = True

    steps: int = 20
    grid: str = "uniform"
    eta: float = 0.85
    eta_b: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        check_name("time grid", self.grid, grids.GRIDS)

    @property
    def calls(self) -> int:
        return self.steps

    def __call__(self, problem: Problem, noise: Noise = torch.randn_like, callback: Callback | None = None) -> Tensor:
        walk = ddrm.SpectralWalk(
            operator=problem.operator,  # type: ignore[arg-type]
            measurement=problem.y,
            sigma_y=problem.sigma_y,
            eta=self.eta,
            eta_b=self.eta_b,
            steps=self.steps,
            grid=self.grid,
        )
        return walk(problem.bridge, problem.prior, problem.blank(), noise=noise, callback=callback)
