"""Guided walks against what is known: the exact posterior, the score that guidance stands for, the methods it generalises."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import rebridge
from rebridge import bridges, inverse, samplers
from rebridge.denoisers import Denoiser, Estimate
from rebridge.inverse import GaussianProblem, Problem, operators
from rebridge.inverse.methods import DDNM, DDS, DiffPIR, Guided, GuidedMethod, NoiseRefined, PiGDM, Proximal
from rebridge.inverse.operators import Measures
from rebridge.models import DenoiserModel
from tests.inverse.conftest import SHAPE, VP, CountingPrior, StandIn, evaluator, gaussian_problem, state_at, walk

METHODS: dict[str, GuidedMethod] = {
    "ddnm": DDNM(eta=0.0),
    "ddnm eta": DDNM(eta=0.85),
    "dds": DDS(),
    "diffpir": DiffPIR(),
    "nrlg": NoiseRefined(),
    "nrlg unit": NoiseRefined(variance="unit"),
    "pigdm": PiGDM(),
    "pigdm refined": PiGDM(reuse="refined"),
}


def guided_by(method: GuidedMethod, problem: GaussianProblem, y: Tensor, denoiser: Denoiser | None = None) -> Guided:
    guidance = method.guidance(problem.operator, y, problem.sigma_y)
    return Guided(denoiser or problem.denoiser, guidance, VP, method.fresh)


def test_exact_covariance_reproduces_the_gaussian_posterior() -> None:
    problem = gaussian_problem(sigma_y=0.1)
    _, y = problem.draw(1, torch.Generator().manual_seed(3))
    count = 4000
    guided = Guided(problem.denoiser, problem.guidance(y.expand(count, -1, -1)), VP)
    zeros = torch.zeros(count, *SHAPE, dtype=torch.float64)
    grid = samplers.create("dbim", steps=100, grid="log-snr")
    samples = grid(VP, guided, zeros, generator=torch.Generator().manual_seed(4)).flatten(1)
    mean, covariance = problem.posterior(y)
    std = covariance.diagonal().sqrt()
    assert ((samples.mean(0) - mean.flatten()) / std).abs().max() < 5 / count**0.5 + 0.02
    assert (samples.std(0) / std - 1).abs().max() < 0.08
    assert (samples.T.cov() - covariance).norm() / covariance.norm() < 0.12


@pytest.mark.parametrize("method", [NoiseRefined(variance="unit"), PiGDM(reuse="refined")])
def test_guidance_by_unit_variance_is_exact_for_a_white_prior(method: GuidedMethod) -> None:
    """With x ~ N(mean, I) the variance of x0 given x_t is b^2/(a^2 + b^2) I, what these two methods assume."""
    problem = gaussian_problem(prior_covariance=torch.eye(48, dtype=torch.float64))
    _, y = problem.draw(2)
    state = state_at(0.5, torch.randn(2, *SHAPE, dtype=torch.float64))
    guidance = method.guidance(problem.operator, y, problem.sigma_y)
    _, x0 = guidance.clean(evaluator(problem, state), state)
    _, exact = problem.guidance(y).clean(evaluator(problem, state), state)
    torch.testing.assert_close(x0, exact)


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_no_solver_leaves_ten_times_the_priors_range(method: GuidedMethod, problem: GaussianProblem) -> None:
    """Without any clamp, states and clean estimates stay within 10 times what the prior draws."""
    _, y = problem.draw(20, torch.Generator().manual_seed(5))
    largest: list[float] = []

    def look(step: int, t: float, x_t: Tensor, x0: Tensor) -> None:
        largest.append(max(x_t.abs().max().item(), x0.abs().max().item()))

    x = walk(problem, guided_by(method, problem, y), 20, 100, callback=look)
    prior_range = problem.draw(1000)[0].abs().max().item()
    assert max(*largest, x.abs().max().item()) < 10 * prior_range


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_every_step_calls_the_prior_once(method: GuidedMethod, problem: GaussianProblem) -> None:
    _, y = problem.draw(3)
    prior = CountingPrior(problem.denoiser)
    walk(problem, guided_by(method, problem, y, prior), 3, 17)
    assert prior.calls == 17


def test_the_reused_noise_is_the_models_or_the_refined_one(problem: GaussianProblem) -> None:
    _, y = problem.draw(2)
    state = state_at(0.5, torch.randn(2, *SHAPE, dtype=torch.float64))
    zeros = torch.zeros_like(state.x_t)
    kept = guided_by(DDNM(eta=0.0), problem, y)(state.x_t, state.t, zeros)
    a, b = state.at.alpha[0], state.at.gamma[0]
    assert kept.noise is not None
    torch.testing.assert_close(a * problem.denoiser(state.x_t, state.t, zeros) + b * kept.noise, state.x_t)
    refined = guided_by(NoiseRefined(), problem, y)(state.x_t, state.t, zeros)
    assert isinstance(refined, Estimate)
    assert refined.noise is None


def test_fresh_noise_replaces_its_share_of_the_variance(problem: GaussianProblem) -> None:
    """DDNM's c1, c2: eta b z + sqrt(1 - eta^2) b eps with fresh = eta^2."""
    _, y = problem.draw(2)
    state = state_at(0.5, torch.randn(2, *SHAPE, dtype=torch.float64))
    zeros = torch.zeros_like(state.x_t)
    z = torch.randn_like(zeros)
    guidance = DDNM().guidance(problem.operator, y)
    quiet = Guided(problem.denoiser, guidance, VP)(state.x_t, state.t, zeros)
    mixed = Guided(problem.denoiser, guidance, VP, 0.85**2, lambda like: z)(state.x_t, state.t, zeros)
    assert quiet.noise is not None
    torch.testing.assert_close(mixed.noise, (1 - 0.85**2) ** 0.5 * quiet.noise + 0.85 * z)


def test_guidance_takes_float32_images_of_any_size_and_other_processes() -> None:
    for name in ("vp", "rectified-flow"):
        bridge = bridges.create(name)
        operator = operators.create("sr2", (3, 7, 9))
        y = operator.A(torch.rand(2, 3, 7, 9))
        guided = Guided(lambda x_t, t, y: x_t / 2, NoiseRefined().guidance(operator, y, 0.1), bridge)
        x = samplers.create("dbim", steps=4)(bridge, guided, torch.zeros(2, 3, 7, 9))
        assert x.dtype == torch.float32
        assert torch.isfinite(x).all()


def test_a_foreign_operator_with_the_same_method_names_works(problem: GaussianProblem) -> None:
    x, _ = problem.draw(2)
    y = StandIn().A(x)
    for method in METHODS.values():
        found = walk(problem, Guided(problem.denoiser, method.guidance(StandIn(), y, 0.1), VP), 2, 20)
        assert torch.isfinite(found).all()
    fitted = walk(problem, Guided(problem.denoiser, DDNM().guidance(StandIn(), y), VP), 2, 20)
    assert (fitted - x).abs().max() < 1e-6


def test_a_deepinv_operator_works_as_it_is(problem: GaussianProblem) -> None:
    deepinv = pytest.importorskip("deepinv")
    x, _ = problem.draw(2)
    physics = deepinv.physics.Inpainting(SHAPE, mask=0.5)
    x = x.float()
    guided = Guided(problem.denoiser, NoiseRefined().guidance(physics, physics.A(x), 0.05), VP)
    assert torch.isfinite(samplers.create("dbim", steps=5)(VP, guided, torch.zeros_like(x))).all()


class Halfway(GuidedMethod):
    """A user's own method: half of the way to the proximal point."""

    name = "halfway"

    def guidance(self, operator: Measures, y: Tensor, sigma_y: float = 0.0) -> Proximal:
        return Proximal(operator, y, 1.0, reuse="refined")


def test_a_registered_method_is_made_and_solves_by_name(problem: GaussianProblem) -> None:
    x, y = problem.draw(2)
    inverse.register("halfway", Halfway)
    try:
        solve = inverse.create("halfway", steps=4)
        assert inverse.names()[-1] == "halfway"
        assert solve(Problem(VP, problem.denoiser, problem.operator, y, problem.sigma_y)).shape == x.shape
        found = rebridge.solve(y, problem.operator, DenoiserModel(problem.denoiser, VP, channels=1), "halfway", steps=3)
        assert found.calls == 3
    finally:
        inverse.SOLVERS.unregister("halfway")


def test_bad_input_gets_one_sentence(problem: GaussianProblem) -> None:
    _, y = problem.draw(1)
    operator = problem.operator
    with pytest.raises(ValueError, match="the measurement holds NaN"):
        NoiseRefined().guidance(operator, y * math.nan, 0.1)
    half: Any = type("Half", (), {m: lambda self, v: v for m in ("A", "A_adjoint", "A_dagger")})()
    with pytest.raises(TypeError, match="this one lacks prox_l2"):
        DDNM().guidance(half, y)
    with pytest.raises(ValueError, match="sigma_y must be a number from 0 up"):
        NoiseRefined().guidance(operator, y, -1.0)
    with pytest.raises(ValueError, match="needs a generative process"):
        Guided(problem.denoiser, DDNM().guidance(operator, y), bridges.create("goub"))
    assert isinstance(DiffPIR().guidance(operator, y, 0.0), Proximal)
