"""Guided walks: DDIM with clean estimates corrected towards the measurement.

One proximal step serves a whole family, with gamma = r^2 / s_y^2 (derived; checked against the authors' codes),

    x0~ = argmin_v gamma/2 |A v - y|^2 + 1/2 |v - x0_hat|^2 = x0_hat + r^2 A^T (s_y^2 I + r^2 A A^T)^-1 (y - A x0_hat),

whose members differ in r^2(t) and in which noise the next step of the walk reuses, a = alpha, b = gamma of the process:

    ddnm     r^2 infinite (gain A^+)              the model's       arXiv 2212.00490
    dds      gamma constant                       the model's       arXiv 2303.05754
    diffpir  b^2 / (a^2 lam)                      refined           arXiv 2305.08995
    nrlg     b^2 / (a^2 + b^2), or b^2 / a^2      refined           arXiv 2506.13391

"Refined" is the noise that x0~ implies, (x_t - a x0~)/b. Nothing is back-propagated. DPS and Pi-GDM do differentiate the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from rebridge.bridges import Bridge, Coefficients
from rebridge.denoisers import Denoiser, Estimate, as_estimate
from rebridge.inverse.methods.base import GridMethod, check_choice, check_share
from rebridge.inverse.operators import Measures, as_operator
from rebridge.inverse.problem import Problem, check_generative
from rebridge.samplers.base import Callback, Noise
from rebridge.samplers.dbim import DBIM

Reuse = Literal["model", "refined"]
Variance = Literal["unit", "flat"]


@dataclass(frozen=True)
class State:
    """A place on a walk.

    Args:
        x_t: state (B, C, H, W).
        t: times (B,).
        at: coefficients of the process there, float64, (B,).
    """

    x_t: Tensor
    t: Tensor
    at: Coefficients


class Guidance(Protocol):
    """A correction of clean estimates towards the measurement."""

    @property
    def reuse(self) -> Reuse:
        """Noise that the next step of the walk reuses."""
        ...

    def clean(self, denoise: Callable[[Tensor], Tensor], state: State) -> tuple[Tensor, Tensor]:
        """Correct the estimate in a state.

        Args:
            denoise: gives x0_hat for a state x_t at the state's time, by one call of the network.
            state: where the walk is.

        Returns:
            The model's x0_hat and the corrected x0~, both (B, C, H, W).
        """
        ...


class Guided:
    """A model under guidance: a denoiser for the `dbim` sampler.

    Args:
        denoiser: of a generative process.
        guidance: corrects its estimates.
        process: the generative process (beta = 0).
        fresh: share of the noise's variance that each step replaces by a new draw (DDNM's eta^2, DiffPIR's zeta), for
            samplers that add none of their own.
        noise: supplies these draws.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        guidance: Guidance,
        process: Bridge,
        fresh: float = 0.0,
        noise: Noise = torch.randn_like,
    ) -> None:
        check_generative(process)
        check_share(fresh=fresh)
        self.denoiser, self.guidance, self.process = denoiser, guidance, process
        self.fresh, self.noise = fresh, noise

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Estimate:
        """Estimate x0 for x_t (B, C, H, W) and t (B,), with the noise to reuse.

        The denoiser is called with y as it is.
        """
        state = State(x_t, t, self.process.coefficients(t))
        x0_hat, x0 = self.guidance.clean(lambda x: as_estimate(self.denoiser(x, t, y)).x0, state)
        refined = self.guidance.reuse == "refined"
        if refined and self.fresh == 0:
            return Estimate(x0)
        noise = self.process.noise_estimate(x_t, x0 if refined else x0_hat, torch.zeros_like(x_t), t)
        if self.fresh > 0:
            noise = (1 - self.fresh) ** 0.5 * noise + self.fresh**0.5 * self.noise(x_t)
        return Estimate(x0, noise)


@dataclass(frozen=True, kw_only=True)
class GuidedMethod(GridMethod):
    """DDIM with the model's estimates corrected by a subclass's guidance.

    Args:
        steps: of the default time grid, one call each.
        grid: its name, see `rebridge.samplers.times`.
    """

    @property
    def fresh(self) -> float:
        """Share of the noise's variance that each step draws anew, in [0, 1]."""
        return 0.0

    @property
    def markov(self) -> float:
        """Share of the Markov posterior's noise that each step draws: DDIM's eta."""
        return 0.0

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> Guidance:
        """Make what corrects the estimates.

        Args:
            operator: A.
            y: measurements (B, ...).
            sigma_y: standard deviation of their noise.
        """
        raise NotImplementedError

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        guidance = self.guidance(problem.operator, problem.y, problem.sigma_y)
        guided = Guided(problem.denoiser, guidance, problem.process, self.fresh, noise)
        walk = DBIM(steps=self.steps, grid=self.grid, eta=self.markov)
        return walk(problem.process, guided, problem.blank(), x=x, times=times, noise=noise, callback=callback)


@dataclass(frozen=True)
class Proximal:
    """Guidance by a proximal step, without a gradient through the model.

    Args:
        operator: A.
        y: measurements (B, ...).
        trust: gamma, as a number (infinite for the gain A^+) or as a function of the coefficients (B,).
        reuse: which noise the next step of the walk reuses.
    """

    operator: Measures
    y: Tensor
    trust: Callable[[Coefficients], Tensor] | float = math.inf
    reuse: Reuse = "model"

    def __post_init__(self) -> None:
        object.__setattr__(self, "operator", as_operator(self.operator, self.y))
        check_choice("reuse", self.reuse, ("model", "refined"))

    def clean(self, denoise: Callable[[Tensor], Tensor], state: State) -> tuple[Tensor, Tensor]:
        """Correct the estimate in a state, see `Guidance`."""
        x0_hat = denoise(state.x_t)
        return x0_hat, self.correct(x0_hat, state.at)

    def correct(self, x0_hat: Tensor, at: Coefficients) -> Tensor:
        """Compute x0~ from clean estimates x0_hat (B, C, H, W) and coefficients (B,)."""
        gamma = self.trust(at) if callable(self.trust) else self.trust
        return self.operator.prox_l2(x0_hat, self.y, gamma)


def pulled_back(
    denoise: Callable[[Tensor], Tensor], x_t: Tensor, pull: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Compute x0_hat and J^T pull(x0_hat), J = d x0_hat / d x_t, both (B, C, H, W)."""
    with torch.enable_grad():
        x = x_t.detach().requires_grad_(True)
        x0_hat = denoise(x)
    (gradient,) = torch.autograd.grad(x0_hat, x, pull(x0_hat.detach()).to(x0_hat.dtype))
    return x0_hat.detach(), gradient


def column(values: Tensor, like: Tensor) -> Tensor:
    """Reshape one value per image (B,) so that it multiplies images (B, ...)."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def variance_of(at: Coefficients, kind: Variance) -> Tensor:
    """Approximate the variance r^2 of x0 given x_t, (B,).

    "unit": b^2 / (a^2 + b^2), "flat": b^2 / a^2.
    """
    a2, b2 = at.alpha.square(), at.gamma.square()
    return b2 / (a2 + b2) if kind == "unit" else b2 / a2


def likelihood_trust(sigma_y: float, variance: Variance) -> Callable[[Coefficients], Tensor] | float:
    """Give the trust r^2 / s_y^2 as a function of the coefficients.

    Infinite without noise.
    """
    return math.inf if sigma_y == 0 else lambda at: variance_of(at, variance) / sigma_y**2
