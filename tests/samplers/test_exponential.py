"""UniDB++'s solvers on exact posteriors: second order on even times and on times even in log k, and stable in few steps."""

import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.denoisers import GaussianDenoiser, MixtureDenoiser

FACTOR = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3
COVARIANCE = FACTOR @ FACTOR.T + 0.05 * torch.eye(4, dtype=torch.float64)
MEAN = torch.tensor([0.2, -0.1, 0.3, 0.0], dtype=torch.float64)
WEIGHTS = torch.tensor([0.6, 0.4], dtype=torch.float64)
MEANS = torch.stack([MEAN + 0.4, MEAN - 0.4])
BRIDGE = bridges.create("goub", schedule="constant", lam=0.5)
Y = torch.tensor([[0.2, -0.4], [0.5, 0.1]], dtype=torch.float64)


def grid_of(kind: str, steps: int) -> Tensor:
    if kind == "uniform":
        return torch.linspace(0.9, 0.2, steps + 1, dtype=torch.float64)
    high, low = BRIDGE.noise_level(torch.tensor([0.9, 0.2], dtype=torch.float64)).log().tolist()
    return BRIDGE.time_of_level(torch.linspace(high, low, steps + 1, dtype=torch.float64).exp())


@pytest.mark.parametrize("kind", ["uniform", "log-snr"])
@pytest.mark.parametrize(
    ("params", "order"),
    [
        ({"order": 1}, 1.0),
        ({"order": 2}, 2.0),
        ({"order": 1, "prediction": "noise"}, 1.0),
        ({"order": 2, "prediction": "noise"}, 2.0),
    ],
)
def test_slopes_against_an_exact_posterior(params: dict[str, object], order: float, kind: str) -> None:
    denoise = MixtureDenoiser(BRIDGE, WEIGHTS, MEANS, torch.stack([COVARIANCE, 0.5 * COVARIANCE]))
    solver = samplers.create("exponential", **params)
    fine = samplers.create("exponential", order=2)
    reference = fine(BRIDGE, denoise, Y, x=Y + 0.3, times=grid_of(kind, 1024))
    counts = [16, 32, 64, 128]
    errors = [(solver(BRIDGE, denoise, Y, x=Y + 0.3, times=grid_of(kind, n)) - reference).norm().item() for n in counts]
    x, e = torch.tensor(counts).double().log(), torch.tensor(errors).double().log()
    slope = -((x - x.mean()) * (e - e.mean())).sum().item() / (x - x.mean()).square().sum().item()
    assert slope == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("steps", [5, 10, 20])
def test_on_the_log_snr_grid_the_second_order_stays_near_the_images(steps: int) -> None:
    bridge = bridges.create("ir-sde", lam=30 / 255)
    denoise = GaussianDenoiser(bridge, MEAN, COVARIANCE)
    end = samplers.create("exponential", order=2, steps=steps, grid="log-snr")(
        bridge, denoise, Y, noise=torch.zeros_like
    )
    assert end.abs().max() < 1.5


@pytest.mark.parametrize("name", [name for name in bridges.names() if not bridges.create(name).noiseless])
def test_frozen_estimates_and_frozen_noise_end_in_one_solution_on_every_process(name: str) -> None:
    """Whole walks from t = 1, where the noise level of pinned bridges is infinite, to t = 0."""
    bridge = bridges.create(name)
    y = torch.linspace(-1, 1, 40, dtype=torch.float64).view(1, 40)

    def network(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(0.9 * x + 0.4 * y - 0.3 * t.view(-1, 1))

    def end(prediction: str, steps: int) -> Tensor:
        solver = samplers.create("exponential", order=2, prediction=prediction, steps=steps, grid="log-snr")
        return solver(bridge, network, y, noise=torch.zeros_like)

    coarse, fine = ((end("x0", steps) - end("noise", steps)).abs().max() for steps in (50, 200))
    assert fine < coarse / 8
    assert fine < 3e-4
