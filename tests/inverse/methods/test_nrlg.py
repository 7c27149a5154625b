"""Noise-refined likelihood guidance: its score written out with matrices, and DDNM without noise."""

import pytest
import torch

from rebridge.inverse import GaussianProblem, operators
from rebridge.inverse.methods import DDNM, NoiseRefined
from tests.inverse.conftest import SHAPE, VP, evaluator, state_at


@pytest.mark.parametrize("name", ["mask", "sr2", "cs", "blur", "colour", "radon"])
def test_noise_refined_guidance_without_measurement_noise_is_ddnm(name: str) -> None:
    operator = operators.create(name, (3, 8, 6))
    y = operator.A(torch.randn(2, 3, 8, 6, dtype=torch.float64))
    x0_hat = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    at = VP.coefficients(torch.tensor([0.3, 0.9]))
    fitted = DDNM().guidance(operator, y).correct(x0_hat, at)
    torch.testing.assert_close(NoiseRefined().guidance(operator, y, 0.0).correct(x0_hat, at), fitted)
    if name != "blur":  # whose smallest singular values would need a far smaller noise still
        near = NoiseRefined().guidance(operator, y, 1e-7).correct(x0_hat, at)
        torch.testing.assert_close(near, fitted, atol=1e-4, rtol=1e-4)


def test_the_refined_noise_is_the_models_minus_the_likelihood_score(problem: GaussianProblem) -> None:
    """eps' = eps - b s with s = (a r^2/b^2) A^T (s_y^2 I + r^2 A A^T)^-1 (y - A x0_hat), written out with matrices."""
    _, y = problem.draw(3)
    state = state_at(0.4, torch.randn(3, *SHAPE, dtype=torch.float64))
    a, b = state.at.alpha[0].item(), state.at.gamma[0].item()
    x0_hat, x0 = (
        NoiseRefined(variance="unit")
        .guidance(problem.operator, y, problem.sigma_y)
        .clean(evaluator(problem, state), state)
    )
    r2, matrix = b**2 / (a**2 + b**2), problem.matrix
    inner = problem.sigma_y**2 * torch.eye(len(matrix)) + r2 * matrix @ matrix.T
    rest = y.flatten(1) - x0_hat.flatten(1) @ matrix.T
    score = a * r2 / b**2 * torch.linalg.solve(inner, rest.T).T @ matrix
    eps = (state.x_t - a * x0_hat).flatten(1) / b
    torch.testing.assert_close((state.x_t - a * x0).flatten(1) / b, eps - b * score)
