"""Guidance: a prior's clean estimate corrected towards the measurement, as a denoiser around a denoiser.

One proximal step serves a whole family, with gamma = r^2 / s_y^2 (derived; checked against the authors' codes),

    x0~ = argmin_v gamma/2 |A v - y|^2 + 1/2 |v - x0_hat|^2 = x0_hat + r^2 A^T (s_y^2 I + r^2 A A^T)^-1 (y - A x0_hat),

whose members differ in r^2(t) and in which noise the next step of the walk reuses, a = alpha, b = gamma of the process:

    ddnm     r^2 infinite (gain A^+)              the model's       arXiv 2212.00490
    dds      gamma constant                       the model's       arXiv 2303.05754
    diffpir  b^2 / (a^2 lam)                      refined           arXiv 2305.08995
    nrlg     b^2 / (a^2 + b^2), or b^2 / a^2      refined           arXiv 2506.13391 (derived: only its abstract was at hand)

"Refined" is the noise that x0~ implies, (x_t - a x0~)/b. For nrlg this is the likelihood's score in closed form,
eps' = eps - b s with s = (a r^2/b^2) A^T (s_y^2 I + r^2 A A^T)^-1 (y - A x0_hat). Nothing is back-propagated. DPS and
Pi-GDM do differentiate the prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.bridges.base import Coefficients
from rebridge.denoisers import Denoiser, Estimate, as_estimate
from rebridge.inverse.operators import Measures, Operator

Reuse = Literal["model", "refined"]
Noise = Callable[[Tensor], Tensor]
Variance = Literal["unit", "flat"]


@dataclass(frozen=True)
class State:
    """Where the walk is: x_t (B, C, H, W), times t (B,), and the process there as float64 coefficients (B,)."""

    x_t: Tensor
    t: Tensor
    at: Coefficients


class Guidance(Protocol):
    """How an estimate of the prior is corrected; `ask` gives the prior's x0_hat for a state x_t, at one network call."""

    @property
    def reuse(self) -> Reuse:
        """Which noise the next step of the walk reuses."""
        ...

    def clean(self, ask: Callable[[Tensor], Tensor], state: State) -> tuple[Tensor, Tensor]:
        """The prior's x0_hat and the corrected x0~, both (B, C, H, W)."""
        ...


class Guided:
    """A prior under guidance: itself a denoiser, for the `dbim` sampler on the prior's process.

    prior: denoiser of a generative process `bridge` (beta = 0). fresh: share of the noise's variance that each step replaces
    by a new draw from `noise` (DDNM's eta^2, DiffPIR's zeta): for samplers that add none of their own.
    """

    def __init__(
        self, prior: Denoiser, guidance: Guidance, bridge: Bridge, fresh: float = 0.0, noise: Noise = torch.randn_like
    ) -> None:
        check_generative(bridge)
        if not 0 <= fresh <= 1:
            raise ValueError(f"fresh must lie in [0, 1], got {fresh}")
        self.prior, self.guidance, self.bridge = prior, guidance, bridge
        self.fresh, self.noise = fresh, noise

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Estimate:
        """The corrected estimate for x_t (B, C, H, W) and t (B,), with the noise to reuse; y goes to the prior as it is."""
        state = State(x_t, t, self.bridge.coefficients(t))
        x0_hat, x0 = self.guidance.clean(lambda x: as_estimate(self.prior(x, t, y)).x0, state)
        refined = self.guidance.reuse == "refined"
        if refined and self.fresh == 0:
            return Estimate(x0)
        noise = self.bridge.noise_estimate(x_t, x0 if refined else x0_hat, torch.zeros_like(x_t), t)
        if self.fresh > 0:
            noise = (1 - self.fresh) ** 0.5 * noise + self.fresh**0.5 * self.noise(x_t)
        return Estimate(x0, noise)


@dataclass(frozen=True)
class Proximal:
    """The proximal step: no gradient through the prior.

    y: measurements (B, ...). trust: gamma as a function of the coefficients (B,), or infinity for the gain A^+.
    """

    operator: Measures
    y: Tensor
    trust: Callable[[Coefficients], Tensor] | float = math.inf
    reuse: Reuse = "model"

    def __post_init__(self) -> None:
        check_measurement(self.operator, self.y)

    def clean(self, ask: Callable[[Tensor], Tensor], state: State) -> tuple[Tensor, Tensor]:
        x0_hat = ask(state.x_t)
        return x0_hat, self.correct(x0_hat, state.at)

    def correct(self, x0_hat: Tensor, at: Coefficients) -> Tensor:
        """x0~ for clean estimates x0_hat (B, C, H, W) and coefficients (B,)."""
        infinite = not callable(self.trust) and math.isinf(self.trust)
        if infinite and not isinstance(self.operator, Operator):
            # ours take gamma = inf, as a foreign prox_l2 may not, and know what it means where they are not linear
            return x0_hat + self.operator.A_dagger(self.y - self.operator.A(x0_hat))
        gamma = self.trust(at) if callable(self.trust) else self.trust
        return self.operator.prox_l2(x0_hat, self.y, gamma)


@dataclass(frozen=True)
class Posterior:
    """DPS (arXiv 2209.14687): x0~ = x0_hat + (scale / a) J^T A^T (y - A x0_hat) / |y - A x0_hat|, J = d x0_hat / d x_t.

    The walk multiplies x0~ by a_s, so each state moves by scale times the gradient of the norm, as in the paper, up to the factor
    a_s / a_t of one step.
    """

    operator: Measures
    y: Tensor
    scale: float = 1.0
    reuse: Reuse = "model"

    def __post_init__(self) -> None:
        check_measurement(self.operator, self.y)
        check_linear(self.operator, "dps")
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")

    def clean(self, ask: Callable[[Tensor], Tensor], state: State) -> tuple[Tensor, Tensor]:
        def pull(x0_hat: Tensor) -> Tensor:
            rest = self.y - self.operator.A(x0_hat)
            return self.operator.A_adjoint(rest / _norm(rest).clamp(min=1e-12))

        x0_hat, gradient = _pulled_back(ask, state.x_t, pull)
        return x0_hat, x0_hat + gradient * _column(self.scale / state.at.alpha, gradient)


@dataclass(frozen=True)
class PseudoInverse:
    """Pi-GDM (ICLR 2023): the proximal correction pulled back through the prior, x0~ = x0_hat + w J^T (prox - x0_hat).

    reuse "model": w = 1, the paper's algorithm with its weight r^2. "refined": w = b^2 / (a r^2), which makes x0~ the exact
    posterior mean where A^T (s_y^2 I + r^2 A A^T)^-1 (y - A x0_hat) is the score in x0_hat (derived); with a network it trusts J
    at times where a is small.
    """

    operator: Measures
    y: Tensor
    sigma_y: float
    reuse: Reuse = "model"

    def __post_init__(self) -> None:
        check_measurement(self.operator, self.y)

    def clean(self, ask: Callable[[Tensor], Tensor], state: State) -> tuple[Tensor, Tensor]:
        a, b = state.at.alpha, state.at.gamma
        variance = _variance(state.at, "unit")
        step = Proximal(self.operator, self.y, _likelihood_trust(self.sigma_y, "unit"))
        x0_hat, gradient = _pulled_back(ask, state.x_t, lambda x0: step.correct(x0, state.at) - x0)
        weight = torch.ones_like(a) if self.reuse == "model" else b.square() / (a * variance)
        return x0_hat, x0_hat + gradient * _column(weight, gradient)


def ddnm(operator: Measures, y: Tensor) -> Proximal:
    """Null-space guidance: x0~ fits y exactly. With noise in y it fits the noise; DDNM's walk uses fresh = 0.85^2."""
    return Proximal(operator, y)


def dds(operator: Measures, y: Tensor, gamma: float = 10.0) -> Proximal:
    """Decomposed diffusion sampling: a constant trust; SCD's settings are 10 and 0.2."""
    if not gamma > 0:
        raise ValueError(f"gamma must be positive, got {gamma}")
    return Proximal(operator, y, gamma)


def diffpir(operator: Measures, y: Tensor, sigma_y: float, lam: float = 7.0) -> Proximal:
    """Plug-and-play restoration: gamma = b^2 / (a^2 lam s_y^2), refined noise; its walk uses fresh = zeta = 0.3."""
    check_sigma(sigma_y)
    if not lam > 0:
        raise ValueError(f"lam must be positive, got {lam}")
    if sigma_y == 0:
        return Proximal(operator, y, reuse="refined")
    return Proximal(operator, y, lambda at: _variance(at, "flat") / (lam * sigma_y**2), "refined")


def nrlg(
    operator: Measures, y: Tensor, sigma_y: float, variance: Variance = "unit", reuse: Reuse = "refined"
) -> Proximal:
    """Noise-refined likelihood guidance; sigma_y: standard deviation of the noise in y, 0 gives the gain A^+.

    variance: r^2 = b^2/(a^2 + b^2), of a prior of unit variance, or "flat": b^2/a^2.
    """
    check_sigma(sigma_y)
    if variance not in ("unit", "flat"):
        raise ValueError(f"variance must be unit or flat, got {variance!r}")
    return Proximal(operator, y, _likelihood_trust(sigma_y, variance), reuse)


def _likelihood_trust(sigma_y: float, variance: Variance) -> Callable[[Coefficients], Tensor] | float:
    return math.inf if sigma_y == 0 else lambda at: _variance(at, variance) / sigma_y**2


def _variance(at: Coefficients, kind: Variance) -> Tensor:
    a2, b2 = at.alpha.square(), at.gamma.square()
    return b2 / (a2 + b2) if kind == "unit" else b2 / a2


def _pulled_back(
    ask: Callable[[Tensor], Tensor], x_t: Tensor, pull: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """x0_hat and J^T pull(x0_hat), J = d x0_hat / d x_t."""
    with torch.enable_grad():
        x = x_t.detach().requires_grad_(True)
        x0_hat = ask(x)
    (gradient,) = torch.autograd.grad(x0_hat, x, pull(x0_hat.detach()).to(x0_hat.dtype))
    return x0_hat.detach(), gradient


def _norm(rest: Tensor) -> Tensor:
    return _column(rest.flatten(1).norm(dim=1), rest)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def check_sigma(sigma_y: float) -> None:
    """Raise ValueError unless a standard deviation is a number from 0 up."""
    if not (sigma_y >= 0 and math.isfinite(sigma_y)):
        raise ValueError(f"sigma_y must be a number from 0 up, got {sigma_y}")


def check_generative(bridge: Bridge) -> None:
    """Raise ValueError unless the process is a generative one, x_t = alpha x0 + gamma eps."""
    if bridge.coefficients(1.0).beta.item() != 0 or bridge.modulation != "one":
        raise ValueError(f"a prior needs a generative process (vp, ve, rectified-flow), got {bridge.name!r}")


def check_measurement(operator: Any, y: Tensor) -> None:
    """Raise ValueError for measurements that hold NaN, or TypeError for an operator without the four methods."""
    missing = [
        name for name in ("A", "A_adjoint", "A_dagger", "prox_l2") if not callable(getattr(operator, name, None))
    ]
    if missing:
        raise TypeError(
            f"an operator needs the methods A, A_adjoint, A_dagger and prox_l2; this one lacks {missing[0]}"
        )
    wanted = getattr(operator, "measurement_shape", None)
    if wanted is not None and tuple(y.shape[1:]) != tuple(wanted):
        numbers = ", ".join(str(n) for n in wanted)
        raise ValueError(f"the operator gives measurements of shape (B, {numbers}), got {tuple(y.shape)}")
    if not y.is_floating_point():
        raise ValueError(f"the measurement must be of a floating-point type, got {y.dtype}")
    if not torch.isfinite(y).all():
        raise ValueError("the measurement holds NaN or infinite values")


def check_linear(operator: Any, solver: str) -> None:
    """Raise ValueError for an operator that says it is not linear, where a solver follows the gradient of |y - A x|^2."""
    if not getattr(operator, "linear", True):
        raise ValueError(f"{solver} needs a linear operator; for {operator.name} use ddnm, dds, diffpir or nrlg")
