"""Samplers against exact posteriors: convergence orders, moments, and steps that must compose."""

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.denoisers import GaussianDenoiser, ResidualDenoiser
from rebridge.samplers import Sampler

D = 3
GENERATOR = torch.Generator().manual_seed(0)
FACTOR = torch.randn(2 * D, 2 * D, generator=GENERATOR, dtype=torch.float64) * 0.3
COVARIANCE = FACTOR @ FACTOR.T + 0.05 * torch.eye(2 * D, dtype=torch.float64)
MEAN = torch.randn(2 * D, generator=GENERATOR, dtype=torch.float64) * 0.3
JOINT = torch.distributions.MultivariateNormal(MEAN, COVARIANCE)

SMOOTH: dict[str, dict[str, Any]] = {
    "goub": {"schedule": "constant", "lam": 0.5},
    "brownian": {"m_min": 0.001, "m_max": 1.0},
    "ddbm-vp": {},
    "rddm": {"sum_scale": 1.0},
    "ir-sde": {"schedule": "constant", "lam": 0.5, "eps": 0.1},
    "indi": {"sigma": 0.5},
    "vp": {},
}
"""Bridges whose coefficients are smooth between the ends of the test, so that an order can be seen."""


@functools.lru_cache
def flow_problem(name: str, high: float = 0.9, low: float = 0.2) -> tuple[Callable[[Sampler, int], Tensor], Tensor]:
    """A solver of the probability-flow ODE from `high` to `low`, and what a fine one gives."""
    torch.manual_seed(0)
    bridge = bridges.create(name, **SMOOTH[name])
    denoise = GaussianDenoiser(bridge, MEAN, COVARIANCE)
    pair = JOINT.sample((16,))
    y = pair[:, D:]
    start = bridge.forward(pair[:, :D], y, torch.full((16,), high), torch.randn_like(y))

    def solve(sampler: Sampler, steps: int) -> Tensor:
        return sampler(bridge, denoise, y, x=start, times=torch.linspace(high, low, steps + 1, dtype=torch.float64))

    return solve, solve(samplers.create("ode", method="heun"), 512)


def ode_errors(name: str, sampler: Sampler, counts: list[int]) -> list[float]:
    """Distance to the fine solution for several numbers of steps."""
    solve, fine = flow_problem(name)
    return [(solve(sampler, count) - fine).norm().item() for count in counts]


def slope(errors: list[float], counts: list[int]) -> float:
    """Least-squares slope of log error against log steps, as an order of convergence."""
    x, y = torch.tensor(counts).double().log(), torch.tensor(errors).double().log()
    return -((x - x.mean()) * (y - y.mean())).sum().item() / (x - x.mean()).square().sum().item()


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (samplers.create("ode", method="euler"), 1.0),
        (samplers.create("ode", method="heun"), 2.0),
        (samplers.create("dbim", order=1), 1.0),
        (samplers.create("dbim", order=2), 2.0),
    ],
    ids=["euler", "heun", "dbim-1", "dbim-2"],
)
def test_ode_samplers_converge_with_their_nominal_order(name: str, sampler: Sampler, order: float) -> None:
    counts = [16, 32, 64, 128]
    assert slope(ode_errors(name, sampler, counts), counts) == pytest.approx(order, abs=0.3)


def test_dbim_of_order_three_beats_order_two_and_converges_at_least_as_fast() -> None:
    """Its start is of order 1 and 2 (no history yet), so the whole chain shows an order between 2 and 3."""
    counts = [8, 16, 32, 64]
    second = ode_errors("brownian", samplers.create("dbim", order=2), counts)
    third = ode_errors("brownian", samplers.create("dbim", order=3), counts)
    assert slope(third, counts) > 1.8
    assert third[0] < 1.5 * second[0]


def endpoint_y(count: int) -> tuple[Tensor, Tensor]:
    y = JOINT.sample()[D:]
    return y, y.expand(count, D).contiguous()


def posterior_of(y: Tensor) -> tuple[Tensor, Tensor]:
    gain = torch.linalg.solve(COVARIANCE[D:, D:], COVARIANCE[D:, :D]).T
    return MEAN[:D] + gain @ (y - MEAN[D:]), COVARIANCE[:D, :D] - gain @ COVARIANCE[D:, :D]


PINNED: dict[str, dict[str, Any]] = {
    "goub": {"schedule": "constant", "lam": 0.5},
    "ddbm-ve": {"sigma_max": 2.0},
    "ddbm-vp": {},
    "brownian": {"m_max": 1.0, "max_var": 0.5},
}


def assert_samples_posterior(samples: Tensor, y: Tensor, mean_slack: float, covariance_slack: float) -> None:
    """Moments within 5 standard errors of the Monte Carlo estimate, plus a stated discretisation error."""
    mean, covariance = posterior_of(y)
    n = len(samples)
    error = (samples.mean(0) - mean).abs()
    assert (error < 5 * (covariance.diagonal() / n).sqrt() + mean_slack).all(), error
    spread = covariance.diagonal()
    standard = ((spread[:, None] * spread[None] + covariance.square()) / n).sqrt()
    error = (samples.T.cov() - covariance).abs()
    assert (error < 5 * standard + covariance_slack).all(), error


@pytest.mark.parametrize("name", PINNED)
@pytest.mark.parametrize(
    ("sampler", "slack"),
    [
        (samplers.create("dbim", steps=400, eta=1.0, grid="log-snr"), 0.02),
        (samplers.create("dbim", steps=400, eta=0.5, grid="log-snr"), 0.02),
        (samplers.create("dbim", steps=400, eta=0.0, grid="log-snr", start="noise"), 0.02),
        (samplers.create("dbim", steps=60, order=2, grid="log-snr"), 0.02),
        (samplers.create("odes3", steps=150, grid="log-snr"), 0.02),
        (samplers.create("exponential", steps=400, eta=1.0, grid="log-snr"), 0.02),
        (samplers.create("heun-churn", steps=200, grid="log-snr"), 0.02),
        (samplers.create("sde", steps=800, grid="log-snr"), 0.03),
    ],
    ids=["dbim-1", "dbim-0.5", "dbim-0", "dbim-order-2", "odes3", "exponential", "heun-churn", "sde"],
)
def test_stochastic_samplers_draw_from_the_posterior(name: str, sampler: Sampler, slack: float) -> None:
    bridge = bridges.create(name, **PINNED[name])
    y, batch = endpoint_y(4000)
    samples = sampler(bridge, GaussianDenoiser(bridge, MEAN, COVARIANCE), batch)
    assert_samples_posterior(samples, y, slack, slack)


def test_euler_maruyama_has_weak_order_one() -> None:
    """The error of the mean over many paths with common noise halves as the steps double."""
    bridge = bridges.create("goub", schedule="constant", lam=0.5)
    denoise = GaussianDenoiser(bridge, MEAN, COVARIANCE)
    _, batch = endpoint_y(1)
    high, low, counts = 0.9, 0.1, [8, 16, 32, 64]
    start = batch + 0.1
    zero = torch.zeros_like

    def mean_at_end(steps: int) -> Tensor:
        """All coefficients are linear in x, so the mean of the chain is the chain without its noise."""
        grid = torch.linspace(high, low, steps + 1, dtype=torch.float64)
        return samplers.create("sde")(bridge, denoise, batch, x=start, times=grid, noise=zero)

    fine = mean_at_end(1024)
    errors = [(mean_at_end(count) - fine).norm().item() for count in counts]
    assert slope(errors, counts) == pytest.approx(1.0, abs=0.25)


def test_mean_ode_is_the_sde_without_noise() -> None:
    bridge = bridges.create("goub")
    denoise = GaussianDenoiser(bridge, MEAN, COVARIANCE)
    y = JOINT.sample((4,))[:, D:]
    quiet = samplers.create("sde", steps=30)(bridge, denoise, y, noise=torch.zeros_like)
    torch.testing.assert_close(samplers.create("mean-ode", steps=30)(bridge, denoise, y), quiet)


def test_residual_modulation_samples_the_residual_posterior() -> None:
    """Given y the residual of every pixel is a draw of the mixture; the chain must give that law back."""
    bridge = bridges.create("rdbm", lam=0.2, schedule="constant")
    weights, means, stds = torch.tensor([0.3, 0.7]), torch.tensor([-0.6, 0.5]), torch.tensor([0.1, 0.15])
    denoise = ResidualDenoiser(bridge, weights, means, stds, points=201)
    y = torch.full((500, 1), 0.2, dtype=torch.float64)
    times = torch.cat([torch.ones(1), torch.linspace(0.999, 0.0, 60)])
    x0 = samplers.create("ode", method="heun", start="noise")(bridge, denoise, y, times=times)
    residual = x0 - y
    mean = (weights * means).sum().item()
    # the start is E[r] (1 + noise), not a draw of the law at t = 1 - d: only the mean is exact, up to that start
    assert residual.mean().item() == pytest.approx(mean, abs=0.1)
    assert torch.isfinite(residual).all()


def test_residual_posterior_mean_agrees_with_monte_carlo() -> None:
    bridge = bridges.create("rdbm", lam=0.2, schedule="constant")
    weights, means, stds = torch.tensor([0.3, 0.7]), torch.tensor([-0.6, 0.5]), torch.tensor([0.1, 0.15])
    denoise = ResidualDenoiser(bridge, weights, means, stds)
    n = 1_000_000
    component = (torch.rand(n, dtype=torch.float64) < 0.7).long()
    r = means.double()[component] + stds.double()[component] * torch.randn(n, dtype=torch.float64)
    y = torch.zeros(n, 1, dtype=torch.float64)
    t = torch.tensor([0.5], dtype=torch.float64)
    x_t = bridge.forward(r[:, None], y, t.expand(n), torch.randn(n, 1, dtype=torch.float64))[:, 0]
    for centre in (-0.2, 0.15, 0.3):
        near = (x_t - centre).abs() < 0.005
        expected = r[near].mean().item()
        got = denoise(torch.tensor([[centre]], dtype=torch.float64), t, torch.zeros(1, 1, dtype=torch.float64)).item()
        assert got == pytest.approx(expected, abs=5 * r[near].std().item() / math.sqrt(near.sum()) + 0.01)


@pytest.mark.parametrize("name", ["rdbm", "goub", "ddbm-vp", "brownian", "ir-sde", "rddm", "flow", "indi", "vp"])
def test_deterministic_steps_compose_for_a_constant_estimate(name: str) -> None:
    """t -> s -> r equals t -> r."""
    bridge = bridges.create(name)
    target = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    y = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    start = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    sampler = samplers.create("dbim")

    def walk(times: list[float]) -> Tensor:
        return sampler(bridge, lambda x, t, y: target, y, x=start, times=times)

    torch.testing.assert_close(walk([0.8, 0.5, 0.2]), walk([0.8, 0.2]), rtol=1e-10, atol=1e-10)


def test_flow_walks_straight_lines() -> None:
    """With the exact velocity of a single pair, one step and ten give the clean image."""
    x0, y = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    for name in ("dbim", "ode"):
        for steps in (1, 10):
            out = samplers.create(name, steps=steps)(bridges.create("flow"), lambda x, t, y: x0, y)
            torch.testing.assert_close(out, x0)
