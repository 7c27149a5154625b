"""DMPS, DAPS and PnP-Flow against formulas written out and exact posteriors."""

import pytest
import torch

from rebridge import bridges
from rebridge.inverse import GaussianProblem, Problem, create
from rebridge.inverse.methods.pnp_flow import squared_norm
from tests.inverse.conftest import SHAPE, VP, exact, gaussian_problem, replayed, seeded


@pytest.mark.parametrize("at", ["state", "sample"])
def test_dmps_is_the_papers_step_written_out_with_matrices(at: str, problem: GaussianProblem) -> None:
    """x_(t-1) = ancestral + scale (1 - r)/sqrt(r) A^T (s^2 I + (1 - abar)/abar A A^T)^-1 (y - A x/sqrt(abar)) / sqrt(abar)."""
    _, y = problem.draw(1)
    x, z = torch.randn(2, 1, *SHAPE, dtype=torch.float64)
    times = torch.tensor([0.5, 0.4, 0.0], dtype=torch.float64)
    abar = VP.coefficients(times).alpha.square()
    x0 = problem.denoiser(x, times[:1], torch.zeros_like(x))
    r = abar[0] / abar[1]
    on_x0 = abar[1].sqrt() * (1 - r) / (1 - abar[0])
    on_x = r.sqrt() * (1 - abar[1]) / (1 - abar[0])
    sample = on_x0 * x0 + on_x * x + ((1 - abar[1]) / (1 - abar[0]) * (1 - r)).sqrt() * z
    where = (x if at == "state" else sample).flatten()
    a = problem.matrix
    inner = problem.sigma_y**2 * torch.eye(len(a)) + (1 - abar[0]) / abar[0] * a @ a.T
    rest = y.flatten() - a @ where / abar[0].sqrt()
    score = a.T @ torch.linalg.solve(inner, rest) / abar[0].sqrt()
    expected = sample + (1.75 * (1 - r) / r.sqrt() * score).reshape(1, *SHAPE)
    seen = []
    create("dmps", at=at)(
        exact(problem, y), times=times, x=x, noise=replayed([z]), callback=lambda i, t, x_t, x0: seen.append(x_t)
    )
    torch.testing.assert_close(seen[1], expected)


def test_an_exact_draw_of_daps_has_the_law_that_it_names(problem: GaussianProblem) -> None:
    """With one call a level, x0 ~ N(x0; x0_hat, r^2) N(y; A x0, tau^2), whose mean and covariance are known."""
    _, y = problem.draw(1)
    count, t = 20_000, 0.15
    x = torch.randn(1, *SHAPE, dtype=torch.float64)
    found = create("daps", ode_steps=1)(
        exact(problem, y.expand(count, -1, -1)), times=[t, 0.0], x=x.expand(count, -1, -1, -1), noise=seeded(0)
    ).flatten(1)
    at = VP.coefficients(torch.tensor(t, dtype=torch.float64))
    r2 = (at.gamma / at.alpha) ** 2
    a, s2 = problem.matrix, problem.sigma_y**2
    x0 = problem.denoiser(x, torch.tensor([t], dtype=torch.float64), torch.zeros_like(x)).flatten()
    covariance = torch.linalg.inv(torch.eye(len(x0)) / r2 + a.T @ a / s2)
    mean = covariance @ (x0 / r2 + a.T @ y.flatten() / s2)
    assert ((found.mean(0) - mean) / covariance.diagonal().sqrt()).abs().max() < 5 / count**0.5
    assert (found.T.cov() - covariance).norm() / covariance.norm() < 0.06


def test_langevin_dynamics_draw_from_the_same_law_as_the_exact_step(problem: GaussianProblem) -> None:
    _, y = problem.draw(1)
    many = y.expand(2000, -1, -1)
    x = torch.randn(1, *SHAPE, dtype=torch.float64).expand(2000, -1, -1, -1)
    settings = {"ode_steps": 1, "tau": 0.2}
    exactly, nearly = (
        create("daps", inner=inner, lr=2e-3, langevin_steps=400, **settings)(
            exact(problem, many), times=[0.2, 0.0], x=x, noise=seeded(0)
        ).flatten(1)
        for inner in ("exact", "langevin")
    )
    std = exactly.std(0)
    assert ((exactly.mean(0) - nearly.mean(0)) / std).abs().max() < 0.2
    assert (nearly.std(0) / std - 1).abs().max() < 0.12


def test_pnp_flow_is_the_authors_loop_on_a_straight_path() -> None:
    """x = D_t(t z + (1 - t) eps), z = x - lr (1 - t) A^T (A x - y), for t = 0, 1/N, ... in their time."""
    process = bridges.create("rectified-flow")
    problem = gaussian_problem("mask", process=process)
    _, y = problem.draw(2)
    draws = torch.randn(10, 2, *SHAPE, dtype=torch.float64)
    x = torch.zeros(2, *SHAPE, dtype=torch.float64)
    for n in range(5):
        t = n / 5
        z = x - 0.7 * (1 - t) * problem.operator.A_adjoint(problem.operator.A(x) - y)
        time = torch.full((2,), 1 - t, dtype=torch.float64)
        pair = [problem.denoiser(t * z + (1 - t) * eps, time, torch.zeros_like(z)) for eps in draws[2 * n : 2 * n + 2]]
        x = (pair[0] + pair[1]) / 2
    method = create("pnp-flow", steps=5, samples=2, lr=0.7)
    found = method(Problem(process, problem.denoiser, problem.operator, y, problem.sigma_y), noise=replayed(draws))
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize("name", ["sr2", "radon", "blur", "mask"])
def test_the_norm_of_an_operator_is_its_largest_singular_value(name: str) -> None:
    problem = gaussian_problem(name)
    largest = torch.linalg.svdvals(problem.matrix)[0].item() ** 2
    like = torch.zeros(1, *SHAPE, dtype=torch.float64)
    assert squared_norm(problem.operator, like) == pytest.approx(largest, rel=0.05)
