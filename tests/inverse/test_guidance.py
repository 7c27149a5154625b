"""Guidance against what is known: the exact posterior, the score it stands for, and the methods it generalises."""

import math

import pytest
import torch

from rebridge import bridges, samplers
from rebridge.denoisers import Estimate
from rebridge.inverse import (
    Guided,
    Posterior,
    Proximal,
    PseudoInverse,
    SpectralWalk,
    ddnm,
    dds,
    diffpir,
    nrlg,
    operators,
)
from rebridge.inverse.guidance import State
from tests.inverse.conftest import SHAPE, VP, CountingPrior, gaussian_problem

METHODS = {
    "ddnm": lambda p, y: (ddnm(p.operator, y), 0.0),
    "ddnm eta": lambda p, y: (ddnm(p.operator, y), 0.85**2),
    "dds": lambda p, y: (dds(p.operator, y, 10.0), 0.0),
    "diffpir": lambda p, y: (diffpir(p.operator, y, p.sigma_y), 0.3),
    "nrlg": lambda p, y: (nrlg(p.operator, y, p.sigma_y), 0.0),
    "nrlg flat": lambda p, y: (nrlg(p.operator, y, p.sigma_y, "flat"), 0.0),
    "dps": lambda p, y: (Posterior(p.operator, y, 0.3), 0.0),
    "pigdm": lambda p, y: (PseudoInverse(p.operator, y, p.sigma_y), 0.0),
    "pigdm refined": lambda p, y: (PseudoInverse(p.operator, y, p.sigma_y, "refined"), 0.0),
    "exact": lambda p, y: (p.guidance(y), 0.0),
}


def state_at(time, x_t):
    t = torch.full((len(x_t),), time, dtype=torch.float64)
    return State(x_t, t, VP.coefficients(t))


def asker(problem, state):
    return lambda x: problem.prior(x, state.t, torch.zeros_like(x))


def walk(problem, guided, count, steps=50, **options):
    zeros = torch.zeros(count, *SHAPE, dtype=torch.float64)
    return samplers.create("dbim", steps=steps)(problem.bridge, guided, zeros, **options)


@pytest.mark.parametrize("name", ["mask", "sr2", "cs", "blur", "colour", "radon"])
def test_noise_refined_guidance_without_measurement_noise_is_ddnm(name):
    operator = operators.create(name, (3, 8, 6))
    y = operator.A(torch.randn(2, 3, 8, 6, dtype=torch.float64))
    x0_hat = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    at = VP.coefficients(torch.tensor([0.3, 0.9]))
    fitted = ddnm(operator, y).correct(x0_hat, at)
    torch.testing.assert_close(nrlg(operator, y, 0.0).correct(x0_hat, at), fitted)
    if name != "blur":  # whose smallest singular values would need a far smaller noise still
        near = nrlg(operator, y, 1e-7).correct(x0_hat, at)
        torch.testing.assert_close(near, fitted, atol=1e-4, rtol=1e-4)


def test_the_refined_noise_is_the_models_minus_the_likelihood_score(problem):
    """eps' = eps - b s with s = (a r^2/b^2) A^T (s_y^2 I + r^2 A A^T)^-1 (y - A x0_hat), written out with matrices."""
    _, y = problem.draw(3)
    state = state_at(0.4, torch.randn(3, *SHAPE, dtype=torch.float64))
    a, b = state.at.alpha[0].item(), state.at.gamma[0].item()
    x0_hat, x0 = nrlg(problem.operator, y, problem.sigma_y).clean(asker(problem, state), state)
    r2, matrix = b**2 / (a**2 + b**2), problem.matrix
    inner = problem.sigma_y**2 * torch.eye(len(matrix)) + r2 * matrix @ matrix.T
    rest = y.flatten(1) - x0_hat.flatten(1) @ matrix.T
    score = a * r2 / b**2 * torch.linalg.solve(inner, rest.T).T @ matrix
    eps = (state.x_t - a * x0_hat).flatten(1) / b
    torch.testing.assert_close((state.x_t - a * x0).flatten(1) / b, eps - b * score)


def test_exact_covariance_reproduces_the_gaussian_posterior():
    problem = gaussian_problem(sigma_y=0.1)
    _, y = problem.draw(1, torch.Generator().manual_seed(3))
    count = 4000
    guided = Guided(problem.prior, problem.guidance(y.expand(count, -1, -1)), VP)
    zeros = torch.zeros(count, *SHAPE, dtype=torch.float64)
    grid = samplers.create("dbim", steps=100, grid="log-snr")
    samples = grid(VP, guided, zeros, generator=torch.Generator().manual_seed(4)).flatten(1)
    mean, covariance = problem.posterior(y)
    std = covariance.diagonal().sqrt()
    assert ((samples.mean(0) - mean.flatten()) / std).abs().max() < 5 / count**0.5 + 0.02
    assert (samples.std(0) / std - 1).abs().max() < 0.08
    assert (samples.T.cov() - covariance).norm() / covariance.norm() < 0.12


@pytest.mark.parametrize("method", [nrlg, PseudoInverse])
def test_guidance_by_unit_variance_is_exact_for_a_white_prior(method):
    """With x ~ N(mean, I) the variance of x0 given x_t is b^2/(a^2 + b^2) I, what these two methods assume."""
    problem = gaussian_problem(prior_covariance=torch.eye(48, dtype=torch.float64))
    _, y = problem.draw(2)
    state = state_at(0.5, torch.randn(2, *SHAPE, dtype=torch.float64))
    guidance = method(problem.operator, y, problem.sigma_y, reuse="refined")
    _, x0 = guidance.clean(asker(problem, state), state)
    _, exact = problem.guidance(y).clean(asker(problem, state), state)
    torch.testing.assert_close(x0, exact)


def test_dps_moves_the_state_along_the_gradient_of_the_misfit(problem):
    """A central difference of |y - A x0_hat(x_t)| along a direction is the correction along it, times -a / scale."""
    _, y = problem.draw(1)
    state = state_at(0.6, torch.randn(1, *SHAPE, dtype=torch.float64))
    ask, direction = asker(problem, state), torch.randn(1, *SHAPE, dtype=torch.float64)
    x0_hat, x0 = Posterior(problem.operator, y, 0.5).clean(ask, state)

    def misfit(x):
        return (y - problem.operator.A(ask(x))).norm()

    slope = (misfit(state.x_t + 1e-5 * direction) - misfit(state.x_t - 1e-5 * direction)) / 2e-5
    moved = ((x0 - x0_hat) * direction).sum() * state.at.alpha / 0.5
    assert moved.item() == pytest.approx(-slope.item(), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_no_solver_leaves_ten_times_the_priors_range(method, problem):
    """Without any clamp, states and clean estimates stay within 10 times what the prior draws."""
    _, y = problem.draw(20, torch.Generator().manual_seed(5))
    guidance, fresh = METHODS[method](problem, y)
    largest = []

    def look(step, t, x_t, x0):
        largest.append(max(x_t.abs().max().item(), x0.abs().max().item()))

    x = walk(problem, Guided(problem.prior, guidance, VP, fresh), 20, 100, callback=look)
    prior_range = problem.draw(1000)[0].abs().max().item()
    assert max(*largest, x.abs().max().item()) < 10 * prior_range


def test_ddrm_stays_in_range_too_and_fits_noiseless_data(problem):
    for sigma_y in (0.0, 0.05):
        x, _ = problem.draw(20)
        y = problem.operator.A(x) + sigma_y * torch.randn(20, *problem.operator.measurement_shape)
        sampler = SpectralWalk(operator=problem.operator, measurement=y, sigma_y=sigma_y)
        largest = []
        found = sampler(
            VP,
            problem.prior,
            torch.zeros_like(x),
            callback=lambda i, t, x_t, x0, seen=largest: seen.append(x_t.abs().max()),
        )
        assert max(largest) < 10 * problem.draw(1000)[0].abs().max()
        if sigma_y == 0:
            torch.testing.assert_close(problem.operator.A(found), y)


def test_ddrm_replays_the_three_branches_written_out_per_singular_value():
    """The paper's formulas with scalars and an SVD of the dense matrix: signs of the basis cancel."""
    problem = gaussian_problem("separable-blur", sigma_y=0.1, shape=(1, 4, 5), sigma=1.0)
    x, y = problem.draw(1)
    noises = [torch.randn(1, 1, 4, 5, dtype=torch.float64) for _ in range(6)]
    supply = iter(noises)
    sampler = SpectralWalk(operator=problem.operator, measurement=y, sigma_y=0.1, steps=5)
    ours = sampler(VP, problem.prior, torch.zeros_like(x), noise=lambda like: next(supply))

    left, sizes, right = torch.linalg.svd(problem.matrix)
    times = torch.linspace(1, 0, 6, dtype=torch.float64)
    c = VP.coefficients(times)
    sigmas = (c.gamma / c.alpha).tolist()
    data = (left.T @ y.flatten()) / sizes
    z = right @ noises[0].flatten()
    spread = 0.1 / sizes
    state = torch.where(spread <= sigmas[0], data + (sigmas[0] ** 2 - spread**2).clamp(min=0).sqrt() * z, sigmas[0] * z)
    for i in range(5):
        x_t = (right.T @ state).reshape(1, 1, 4, 5) * c.alpha[i]
        clean = right @ problem.prior(x_t, times[i : i + 1], torch.zeros_like(x_t)).flatten()
        z = torch.zeros(20, dtype=torch.float64) if i == 4 else right @ noises[i + 1].flatten()
        following = torch.empty_like(state)
        for k in range(20):
            sigma = sigmas[i + 1]
            if sigma < spread[k]:
                drift = (1 - 0.85**2) ** 0.5 * sigma * (data[k] - clean[k]) / spread[k]
                following[k] = clean[k] + drift + 0.85 * sigma * z[k]
            else:
                following[k] = data[k] + (sigma**2 - spread[k] ** 2) ** 0.5 * z[k]
        state = following
    torch.testing.assert_close(ours.flatten(), right.T @ state)


@pytest.mark.parametrize("method", METHODS)
def test_every_step_calls_the_prior_once(method, problem):
    _, y = problem.draw(3)
    guidance, fresh = METHODS[method](problem, y)
    prior = CountingPrior(problem.prior)
    walk(problem, Guided(prior, guidance, VP, fresh), 3, 17)
    assert prior.calls == 17


def test_the_reused_noise_is_the_models_or_the_refined_one(problem):
    _, y = problem.draw(2)
    state = state_at(0.5, torch.randn(2, *SHAPE, dtype=torch.float64))
    zeros = torch.zeros_like(state.x_t)
    kept = Guided(problem.prior, ddnm(problem.operator, y), VP)(state.x_t, state.t, zeros)
    a, b = state.at.alpha[0], state.at.gamma[0]
    torch.testing.assert_close(a * problem.prior(state.x_t, state.t, zeros) + b * kept.noise, state.x_t)
    refined = Guided(problem.prior, nrlg(problem.operator, y, 0.05), VP)(state.x_t, state.t, zeros)
    assert isinstance(refined, Estimate)
    assert refined.noise is None


def test_fresh_noise_replaces_its_share_of_the_variance(problem):
    """DDNM's c1, c2: eta b z + sqrt(1 - eta^2) b eps with fresh = eta^2."""
    _, y = problem.draw(2)
    state = state_at(0.5, torch.randn(2, *SHAPE, dtype=torch.float64))
    zeros = torch.zeros_like(state.x_t)
    z = torch.randn_like(zeros)
    quiet = Guided(problem.prior, ddnm(problem.operator, y), VP)(state.x_t, state.t, zeros)
    mixed = Guided(problem.prior, ddnm(problem.operator, y), VP, 0.85**2, lambda like: z)(state.x_t, state.t, zeros)
    torch.testing.assert_close(mixed.noise, (1 - 0.85**2) ** 0.5 * quiet.noise + 0.85 * z)


def test_guidance_takes_float32_images_of_any_size_and_other_processes():
    for name in ("vp", "rectified-flow"):
        bridge = bridges.create(name)
        operator = operators.create("sr2", (3, 7, 9))
        y = operator.A(torch.rand(2, 3, 7, 9))
        guided = Guided(lambda x, t, y: x / 2, nrlg(operator, y, 0.1), bridge)
        x = samplers.create("dbim", steps=4)(bridge, guided, torch.zeros(2, 3, 7, 9))
        assert x.dtype == torch.float32
        assert torch.isfinite(x).all()


class StandIn:
    """What a deepinv LinearPhysics offers, in as few lines as show the interface: a diagonal operator."""

    factor = 0.5

    def A(self, x):  # noqa: N802
        return self.factor * x

    def A_adjoint(self, y):  # noqa: N802
        return self.factor * y

    def A_dagger(self, y):  # noqa: N802
        return y / self.factor

    def prox_l2(self, z, y, gamma):
        gamma = torch.as_tensor(gamma, dtype=z.dtype).reshape(-1, 1, 1, 1)
        return (z + gamma * self.factor * y) / (1 + gamma * self.factor**2)


def test_a_foreign_operator_with_the_same_method_names_works(problem):
    x, _ = problem.draw(2)
    y = StandIn().A(x)
    for guidance in (
        ddnm(StandIn(), y),
        nrlg(StandIn(), y, 0.01),
        Posterior(StandIn(), y),
        PseudoInverse(StandIn(), y, 0.1),
    ):
        found = walk(problem, Guided(problem.prior, guidance, VP), 2, 20)
        assert torch.isfinite(found).all()
    assert (walk(problem, Guided(problem.prior, ddnm(StandIn(), y), VP), 2, 20) - x).abs().max() < 1e-6


def test_a_deepinv_operator_works_as_it_is(problem):
    deepinv = pytest.importorskip("deepinv")
    x, _ = problem.draw(2)
    physics = deepinv.physics.Inpainting(SHAPE, mask=0.5)
    x = x.float()
    guided = Guided(problem.prior, nrlg(physics, physics.A(x), 0.05), VP)
    assert torch.isfinite(samplers.create("dbim", steps=5)(VP, guided, torch.zeros_like(x))).all()


def test_bad_input_gets_one_sentence(problem):
    _, y = problem.draw(1)
    operator = problem.operator
    with pytest.raises(ValueError, match="the measurement holds NaN"):
        nrlg(operator, y * math.nan, 0.1)
    with pytest.raises(TypeError, match="this one lacks prox_l2"):
        ddnm(type("Half", (), {m: lambda self, v: v for m in ("A", "A_adjoint", "A_dagger")})(), y)
    with pytest.raises(ValueError, match="sigma_y must be a number from 0 up"):
        nrlg(operator, y, -1.0)
    with pytest.raises(ValueError, match="needs a generative process"):
        Guided(problem.prior, ddnm(operator, y), bridges.create("goub"))
    with pytest.raises(ValueError, match="known singular value decomposition"):
        SpectralWalk(operator=operators.create("radon", (1, 4, 4)), measurement=y)
    with pytest.raises(ValueError, match="lam must be positive"):
        diffpir(operator, y, 0.1, lam=0)
    with pytest.raises(ValueError, match="gamma must be positive"):
        dds(operator, y, 0)
    with pytest.raises(ValueError, match="variance must be unit or flat"):
        nrlg(operator, y, 0.1, "other")
    assert isinstance(diffpir(operator, y, 0.0), Proximal)
