"""A small linear inverse problem with a Gaussian prior, whose posterior is known, and what the tests of methods share."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser, as_estimate
from rebridge.inverse import GaussianProblem, Guided, Problem, operators
from rebridge.inverse.methods import State

SHAPE = (1, 6, 8)
VP = bridges.create("vp")


def covariance(d: int, seed: int = 0) -> Tensor:
    """Random rotation of a spectrum from 1 down to 0.02, as images have: a few strong directions, many weak ones."""
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    return rotation @ torch.diag(torch.logspace(0, -1.7, d, dtype=torch.float64)) @ rotation.T


def gaussian_problem(
    name: str = "cs",
    sigma_y: float = 0.05,
    shape: tuple[int, int, int] = SHAPE,
    prior_covariance: Tensor | None = None,
    process: Bridge = VP,
    **params: Any,
) -> GaussianProblem:
    d = shape[0] * shape[1] * shape[2]
    operator = operators.create(name, shape, **({"ratio": 0.4} if name == "cs" else {}), **params)
    mean = 0.2 * torch.randn(d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    spread = covariance(d) if prior_covariance is None else prior_covariance
    return GaussianProblem(process, operator, mean, spread, sigma_y)


def exact(problem: GaussianProblem, y: Tensor, denoiser: Denoiser | None = None) -> Problem:
    """The problem as methods see it, by default with the exact denoiser."""
    return Problem(VP, denoiser or problem.denoiser, problem.operator, y, problem.sigma_y, problem.network)


def replayed(noises: Iterable[Tensor]) -> Callable[[Tensor], Tensor]:
    """A source of noise that supplies these tensors in turn."""
    supply = iter(noises)
    return lambda like: next(supply)


def seeded(seed: int) -> Callable[[Tensor], Tensor]:
    """A source of noise of any shape that begins anew with each call of this function."""
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def state_at(time: float, x_t: Tensor) -> State:
    t = torch.full((len(x_t),), time, dtype=torch.float64)
    return State(x_t, t, VP.coefficients(t))


def evaluator(problem: GaussianProblem, state: State) -> Callable[[Tensor], Tensor]:
    """The exact x0_hat as a function of the state, at the state's time."""
    return lambda x: as_estimate(problem.denoiser(x, state.t, torch.zeros_like(x))).x0


def walk(problem: GaussianProblem, guided: Guided, count: int, steps: int = 50, **options: Any) -> Tensor:
    zeros = torch.zeros(count, *SHAPE, dtype=torch.float64)
    return samplers.create("dbim", steps=steps)(problem.process, guided, zeros, **options)


def image(height: int = 16, width: int = 24) -> Tensor:
    """A smooth picture (1, 3, height, width) in [0, 1]."""
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(rows / (4 + k)) * torch.cos(columns / 7 - k) for k in range(3)])[None]


class CountingPrior:
    """A denoiser that counts how often it is called and for how many states."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.calls, self.states = denoiser, 0, 0

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        self.states += len(x_t)
        return as_estimate(self.denoiser(x_t, t, y)).x0


class StandIn:
    """What a deepinv LinearPhysics offers, in as few lines as show the interface: a diagonal operator."""

    factor = 0.5

    def A(self, x: Tensor) -> Tensor:  # noqa: N802
        return self.factor * x

    def A_adjoint(self, y: Tensor) -> Tensor:  # noqa: N802
        return self.factor * y

    def A_dagger(self, y: Tensor) -> Tensor:  # noqa: N802
        return y / self.factor

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Any) -> Tensor:
        gamma = torch.as_tensor(gamma, dtype=z.dtype).reshape(-1, 1, 1, 1)
        return (z + gamma * self.factor * y) / (1 + gamma * self.factor**2)


@pytest.fixture
def problem() -> GaussianProblem:
    return gaussian_problem()
