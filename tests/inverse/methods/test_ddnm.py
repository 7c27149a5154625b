"""DDNM's time travel and DDNM+: the walk written out, and the law of its noise."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from rebridge.inverse import GaussianProblem, MethodWarning, Problem, create, operators
from rebridge.inverse.methods.ddnm import itinerary
from tests.inverse.conftest import SHAPE, VP, exact, gaussian_problem, replayed, seeded


def test_the_itinerary_is_repaints_schedule() -> None:
    """Worked out by hand for five steps, two back, twice; t = 4 - place."""
    assert itinerary(5, 2, 2) == [0, 1, 2, 1, 0, 1, 2, 3, 4, 3, 2, 3, 4, 5]
    assert itinerary(4) == [0, 1, 2, 3, 4]
    assert itinerary(3, 1, 2) == [0, 1, 0, 1, 2, 1, 2, 3]


@pytest.mark.parametrize("eta", [0.0, 0.85])
def test_time_travel_is_the_authors_loop_written_out(eta: float) -> None:
    operator = operators.create("mask", (1, 4, 4))
    y = operator.A(torch.randn(1, 1, 4, 4, dtype=torch.float64))
    draws = torch.randn(20, 1, 1, 4, 4, dtype=torch.float64)
    times = torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1, 0.0], dtype=torch.float64)
    c = VP.coefficients(times)
    x, count, x0 = draws[0], 1, draws[0]
    walked = [0, 1, 2, 1, 0, 1, 2, 3, 4, 3, 2, 3, 4, 5]
    for i, j in pairwise(walked):
        z = draws[count]
        count += 1
        if j > i:
            x0 = torch.tanh(0.9 * x)
            eps = (x - c.alpha[i] * x0) / c.gamma[i]
            fitted = x0 - operator.A_dagger(operator.A(x0) - y)
            x = c.alpha[j] * fitted + c.gamma[j] * (eta * z + (1 - eta**2) ** 0.5 * eps)
        else:
            x = c.alpha[j] * x0 + c.gamma[j] * z
    method = create("ddnm", eta=eta, travel_length=2, travel_repeat=2)
    problem = Problem(VP, lambda x_t, t, y: torch.tanh(0.9 * x_t), operator, y)
    torch.testing.assert_close(method(problem, times=times, x=draws[0], noise=replayed(draws[1:])), x)


def test_the_noise_of_ddnm_plus_has_the_variance_of_the_state() -> None:
    """The data's noise and what is added make b_s^2 wherever the data are informative; the mean is a_s times the data's."""
    operator = operators.create("separable-blur", SHAPE, sigma=0.7)
    x = torch.randn(1, *SHAPE, dtype=torch.float64)
    count, sigma, times = 4000, 0.05, [0.6, 0.4, 0.0]
    y = operator.A(x).expand(count, -1, -1, -1) + sigma * torch.randn(count, *SHAPE, dtype=torch.float64)
    seen: list[Tensor] = []
    problem = Problem(VP, lambda x_t, t, y: torch.zeros_like(x_t), operator, y, sigma)
    create("ddnm", plus=True)(problem, times=times, noise=seeded(0), callback=lambda i, t, x_t, x0: seen.append(x_t))
    at = VP.coefficients(torch.tensor(0.4, dtype=torch.float64))
    sizes = operators.create("separable-blur", SHAPE, sigma=0.7).singular_values(x)  # type: ignore[attr-defined]
    informative = (at.alpha * sigma / sizes < at.gamma).expand(SHAPE)
    spectrum = operator.spectrum(seen[1] - at.alpha * x)  # type: ignore[attr-defined]
    assert informative.sum() > 10
    assert (spectrum.std(0)[informative] / at.gamma - 1).abs().max() < 0.06
    assert (spectrum.mean(0)[informative] / at.gamma).abs().max() < 5 / count**0.5


def test_a_noisy_blur_is_restored_and_not_its_noise(problem: GaussianProblem) -> None:
    """Chosen for noise of its own accord, DDNM+ stays near the image; DDNM does not, and says so."""
    blurred = gaussian_problem("separable-blur", sigma_y=0.05, sigma=1.5)
    x, y = blurred.draw(8, torch.Generator().manual_seed(0))
    quiet = create("ddnm", steps=25)(exact(blurred, y), noise=seeded(0))
    with pytest.warns(MethodWarning, match="ddnm fits y of separable together with its noise"):
        noisy = create("ddnm", steps=25, plus=False)(exact(blurred, y), noise=seeded(0))
    assert (quiet - x).norm() < x.norm()
    assert (noisy - x).norm() > 10 * (quiet - x).norm()


def test_ddnm_plus_needs_a_spectrum() -> None:
    with pytest.raises(ValueError, match="plus=true needs the singular value decomposition .* radon has none"):
        create("ddnm", plus=True).check(operators.create("radon", SHAPE))
