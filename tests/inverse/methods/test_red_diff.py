"""RED-diff: its official loop, and the stationary point of its loss."""

from typing import Literal

import pytest
import torch

from rebridge.inverse import GaussianProblem
from rebridge.inverse.methods.red_diff import WEIGHTINGS, REDDiff
from tests.inverse.conftest import VP, exact, replayed


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_red_diff_replays_the_official_loop(
    weighting: str, optimiser: Literal["adam", "sgd"], problem: GaussianProblem
) -> None:
    """The loop of the authors' code written out with automatic differentiation: one image, so their means are ours."""
    _, y = problem.draw(1)
    draws = [torch.randn(1, 1, 6, 8, dtype=torch.float64) for _ in range(40)]
    solver = REDDiff(
        steps=20,
        weighting=weighting,
        optimiser=optimiser,
        sigma_x0=1e-3,
        lr=0.5 if optimiser == "sgd" else None,
    )
    ours = solver(exact(problem, y), noise=replayed(draws))

    supply = replayed(draws)
    mu = problem.operator.A_dagger(y).requires_grad_(True)
    step: torch.optim.Optimizer = (
        torch.optim.Adam([mu], lr=0.1, betas=(0.9, 0.99), weight_decay=0.0)
        if optimiser == "adam"
        else torch.optim.SGD([mu], lr=0.5, momentum=0.9)
    )
    for i in range(20):
        t = torch.full((1,), (20 - i) / 20, dtype=torch.float64)
        at = VP.coefficients(t)
        abar = at.alpha.square()
        noise_x0 = supply(mu)
        noise_xt = supply(mu)
        x0_pred = mu + 1e-3 * noise_x0
        xt = abar.sqrt() * x0_pred + at.gamma * noise_xt
        x0_hat = problem.denoiser(xt, t, torch.zeros_like(xt))
        et = ((xt - abar.sqrt() * x0_hat) / at.gamma).detach()
        loss_obs = (y - problem.operator.A(x0_pred)).square().mean() / 2
        loss_noise = torch.mul((et - noise_xt).detach(), x0_pred).mean()
        snr_inv = at.gamma[0] / abar[0].sqrt()
        factor = {
            "linear": snr_inv,
            "sqrt": torch.sqrt(snr_inv),
            "square": torch.square(snr_inv),
            "log": torch.log(snr_inv + 1.0),
            "trunc-linear": torch.clip(snr_inv, max=1.0),
            "power2over3": torch.pow(snr_inv, 2 / 3),
            "const": torch.pow(snr_inv, 0.0),
        }[weighting]
        loss = 0.25 * factor * loss_noise + 1.0 * loss_obs
        step.zero_grad()
        loss.backward()
        step.step()
    torch.testing.assert_close(ours, mu.detach(), rtol=1e-6, atol=1e-8)


def test_red_diff_converges_to_the_stationary_point_of_its_loss(problem: GaussianProblem) -> None:
    """For a Gaussian prior the loss is quadratic: E eps(x_t) - n = b (a^2 C + b^2 I)^-1 a (mu - m), averaged over the times."""
    _, y = problem.draw(2)
    times = [0.05, 0.2, 0.5, 0.8]
    solver = REDDiff(optimiser="sgd", lr=2.0, weight=0.02)
    # the noise enters linearly and has mean 0
    found = solver(exact(problem, y), times=times * 1000, noise=torch.zeros_like)
    at = VP.coefficients(torch.tensor(times, dtype=torch.float64))
    d, m = problem.matrix.shape[1], problem.matrix.shape[0]
    prior = torch.zeros(d, d, dtype=torch.float64)
    for a, b in zip(at.alpha, at.gamma, strict=True):
        inner = a**2 * problem.covariance + b**2 * torch.eye(d, dtype=torch.float64)
        prior += 0.02 * (b / a) * a * b * torch.linalg.inv(inner) / (len(times) * d)
    data = problem.matrix.T @ problem.matrix / m
    right = y.flatten(1) @ problem.matrix / m + prior @ problem.mean
    expected = torch.linalg.solve(data + prior, right.T).T
    assert (found.flatten(1) - expected).norm() / expected.norm() < 2e-2


def test_a_last_time_of_zero_takes_no_step_and_the_start_is_the_image_given(problem: GaussianProblem) -> None:
    _, y = problem.draw(2)
    noises = [torch.randn(2, 1, 6, 8, dtype=torch.float64) for _ in range(3)]
    start = torch.randn(2, 1, 6, 8, dtype=torch.float64)
    solver, posed = REDDiff(lr=0.01), exact(problem, y)
    times = [0.9, 0.9, 0.4]
    ended, open_ended = (solver(posed, times=grid, noise=replayed(noises), x=start) for grid in ([*times, 0.0], times))
    torch.testing.assert_close(ended, open_ended, rtol=0, atol=0)
    assert (ended - start).abs().max() <= 3 * 0.011  # Adam moves at most about lr a step
    with pytest.raises(ValueError, match="times must lie in"):
        solver(posed, times=[0.5, 0.0, 0.2])
