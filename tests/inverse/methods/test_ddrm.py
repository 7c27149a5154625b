"""DDRM: the paper's three branches written out, its range, and noiseless data."""

import torch
from torch import Tensor

from rebridge.inverse import GaussianProblem, Problem, create
from tests.inverse.conftest import VP, exact, gaussian_problem, replayed


def test_ddrm_stays_in_range_too_and_fits_noiseless_data(problem: GaussianProblem) -> None:
    for sigma_y in (0.0, 0.05):
        x, _ = problem.draw(20)
        y = problem.operator.A(x) + sigma_y * torch.randn(20, *problem.operator.measurement_shape)
        largest: list[float] = []

        def look(i: int, t: float, x_t: Tensor, x0: Tensor, seen: list[float] = largest) -> None:
            seen.append(x_t.abs().max().item())

        found = create("ddrm")(Problem(VP, problem.denoiser, problem.operator, y, sigma_y), callback=look)
        assert max(largest) < 10 * problem.draw(1000)[0].abs().max()
        if sigma_y == 0:
            torch.testing.assert_close(problem.operator.A(found), y)


def test_ddrm_replays_the_three_branches_written_out_per_singular_value() -> None:
    """The paper's formulas with scalars and an SVD of the dense matrix: signs of the basis cancel."""
    problem = gaussian_problem("separable-blur", sigma_y=0.1, shape=(1, 4, 5), sigma=1.0)
    _, y = problem.draw(1)
    noises = [torch.randn(1, 1, 4, 5, dtype=torch.float64) for _ in range(6)]
    ours = create("ddrm", steps=5)(exact(problem, y), noise=replayed(noises))

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
        clean = right @ problem.denoiser(x_t, times[i : i + 1], torch.zeros_like(x_t)).flatten()
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
