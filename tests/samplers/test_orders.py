"""What every sampler states of itself, held against what is measured: order of convergence and evaluations a step."""

import functools
import math
import textwrap
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.denoisers import Counted, Denoiser, MixtureDenoiser
from rebridge.samplers import Sampler, base

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("dbim", {}),
    ("dbim", {"eta": 1.0}),
    ("dbim", {"order": 2}),
    ("dbim", {"order": 3}),
    ("ode", {}),
    ("ode", {"method": "heun"}),
    ("heun-churn", {}),
    ("heun-churn", {"churn": 0.0}),
    ("sde", {}),
    ("sde", {"eta": 0.0}),
    ("sde", {"eta": 0.5}),
    ("mean-ode", {}),
    ("odes3", {}),
    ("exponential", {}),
    ("exponential", {"order": 2}),
    ("exponential", {"order": 2, "extrapolate": "k"}),
    ("exponential", {"prediction": "noise"}),
    ("exponential", {"prediction": "noise", "order": 2}),
    ("exponential", {"prediction": "noise", "order": 2, "eta": 1.0}),
    ("exponential", {"eta": 1.0}),
    ("increments", {}),
    ("increments", {"hold": True}),
    ("residual-posterior", {}),
    ("residual-posterior", {"eta": 0.0}),
    ("resample", {}),
    ("multiplicative", {}),
    ("multiplicative", {"method": "euler"}),
    ("irbridge", {"process": bridges.create("vp")}),
    ("ddim", {}),
    ("ddim", {"order": 2}),
    ("sdedit", {}),
    ("denoise", {}),
]
BRIDGE = bridges.create("goub", schedule="constant", lam=0.5)
PRIOR = bridges.create("vp")
MULTIPLICATIVE = bridges.create("fod", schedule="constant", noise_schedule="constant")
COUNTS = [16, 32, 64, 128]
Y = torch.tensor([[0.2, -0.1]], dtype=torch.float64)


def smooth(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A denoiser that is linear in nothing: the mean of the Markov posterior is exact at any step for a linear one."""
    return torch.tanh(0.9 * x + 0.4 * y - 0.3 * t.view(-1, 1))


def end(sampler: Sampler, steps: int, denoiser: Denoiser = smooth) -> Tensor:
    """The state at 0.3 from a fixed one at 0.8, with all noise 0."""
    bridge = PRIOR if sampler.walks_prior else MULTIPLICATIVE if sampler.name == "multiplicative" else BRIDGE
    times = torch.linspace(0.8, 0.3, steps + 1, dtype=torch.float64)
    return sampler(bridge, denoiser, Y, x=Y + 0.5, times=times, noise=torch.zeros_like)


def measured_order(sampler: Sampler) -> float:
    """Least-squares slope of the logarithm of the error over that of the number of steps."""
    fine = end(sampler, 2048)
    errors = torch.stack([(end(sampler, count) - fine).norm() for count in COUNTS]).log()
    steps = torch.tensor(COUNTS, dtype=torch.float64).log()
    steps = steps - steps.mean()
    return -((steps * errors).sum() / steps.square().sum()).item()


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_a_sampler_converges_with_the_order_that_it_states(name: str, params: dict[str, Any]) -> None:
    sampler = samplers.create(name, **params)
    lowest = min(sampler.order, 2)  # order 3 begins with steps of order 1 and 2, see DBIM
    assert lowest - 0.2 < measured_order(sampler) < sampler.order + 0.3


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_a_step_evaluates_the_network_as_often_as_stated(name: str, params: dict[str, Any]) -> None:
    sampler = samplers.create(name, **params)
    counted = Counted(smooth)
    end(sampler, 5, counted)
    assert counted.calls == 5 * sampler.calls_per_step


def test_every_sampler_is_held_to_its_statements() -> None:
    assert {name for name, _ in VARIANTS} == set(samplers.names())


FLOW: list[tuple[str, dict[str, Any]]] = [
    ("dbim", {}), ("dbim", {"order": 2}), ("dbim", {"order": 3}), ("ode", {}), ("ode", {"method": "heun"}),
    ("heun-churn", {"churn": 0.0}), ("sde", {"eta": 0.0}), ("odes3", {}), ("increments", {}),
    ("residual-posterior", {"eta": 0.0}),
]  # fmt: skip
"""Samplers of the probability flow."""
MEAN: list[tuple[str, dict[str, Any]]] = [
    ("mean-ode", {}), ("exponential", {}), ("exponential", {"order": 2}), ("exponential", {"order": 2, "prediction": "noise"}),
]  # fmt: skip
"""Samplers of the reverse SDE without its noise."""


HALF = torch.tensor([[0.5, -0.4], [-0.3, 0.2]], dtype=torch.float64)
SPREAD = 0.04 * torch.eye(4, dtype=torch.float64)
EXACT = MixtureDenoiser(BRIDGE, torch.tensor([0.6, 0.4]), torch.cat([HALF, HALF], 1), torch.stack([SPREAD, 2 * SPREAD]))
"""x0 and y are of one of two Gaussians."""


def exact_end(sampler: Sampler, grid: str, steps: int) -> Tensor:
    """The state at 0.3 from a fixed one at 0.8, with the exact estimate, on times even in t or in the noise level's logarithm."""
    times = torch.linspace(0.8, 0.3, steps + 1, dtype=torch.float64)
    if grid == "log-snr":
        high, low = BRIDGE.noise_level(times[[0, -1]]).log().tolist()
        times = BRIDGE.time_of_level(torch.linspace(high, low, steps + 1, dtype=torch.float64).exp())
    return sampler(BRIDGE, EXACT, Y, x=Y + 0.3, times=times, noise=torch.zeros_like)


@functools.cache
def solution(flow: bool) -> Tensor:
    """That of Heun's method, or of `exponential`, in many steps."""
    fine = samplers.create("ode", method="heun") if flow else samplers.create("exponential", order=2)
    return exact_end(fine, "log-snr", 1024)


@pytest.mark.parametrize("grid", ["uniform", "log-snr"])
@pytest.mark.parametrize(("name", "params"), [*FLOW, *MEAN])
def test_a_deterministic_sampler_reaches_the_solution_of_an_exact_posterior_with_its_order(
    name: str, params: dict[str, Any], grid: str
) -> None:
    sampler, exact = samplers.create(name, **params), solution((name, params) in FLOW)
    errors = [(exact_end(sampler, grid, steps) - exact).norm().item() for steps in (32, 64, 128)]
    slope = math.log2(errors[0] / errors[-1]) / 2
    assert min(sampler.order, 2) - 0.25 < slope < sampler.order + 0.4
    assert errors[-1] < 0.02


@pytest.mark.parametrize("name", ["rdbm", "goub", "brownian", "ir-sde", "ddbm-vp"])
def test_the_run_that_the_base_module_begins_with_is_dbim(name: str) -> None:
    lines = (base.__doc__ or "").split("\n")
    code = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ")))
    bridge = bridges.create(name)
    y = torch.rand(2, 3, 5, 4, dtype=torch.float64)

    def denoiser(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(0.9 * x + 0.4 * y - 0.3 * t.view(-1, 1, 1, 1))

    scope: dict[str, Any] = {"torch": torch, "bridge": bridge, "denoiser": denoiser, "y": y, "steps": 6}
    torch.manual_seed(1)
    if not bridge.starts_noisy:  # the run draws a tensor that the sampler spares
        torch.randn_like(y)
        torch.manual_seed(1)
    draws: list[Tensor] = []

    def recorded(like: Tensor) -> Tensor:
        draws.append(torch.randn(like.shape, dtype=like.dtype))
        return draws[-1]

    expected = samplers.create("dbim", steps=6)(bridge, denoiser, y, noise=recorded)
    queue = [*([] if bridge.starts_noisy else [y]), *draws, y]
    randn_like = torch.randn_like
    try:
        torch.randn_like = lambda like: queue.pop(0)  # type: ignore[assignment]
        exec(code, scope)
    finally:
        torch.randn_like = randn_like
    torch.testing.assert_close(scope["x"], expected, rtol=1e-6, atol=1e-6)
    assert all(later < earlier for earlier, later in pairwise(scope["grid"].tolist()))


@pytest.mark.parametrize("name", ["ddbm-vp", "goub", "brownian", "vp"])
@pytest.mark.parametrize(("order", "polynomial"), [(1, [0.3]), (2, [0.3, -0.2]), (3, [0.3, -0.2, 0.15])])
def test_dbim_is_exact_where_the_estimate_is_a_polynomial_in_log_snr(
    name: str, order: int, polynomial: list[float]
) -> None:
    """x_s = gamma_s/gamma_t x_t + (...) y + alpha_s times the integral of exp(l - l_s) x0_hat(l) over l = log(alpha/gamma)."""
    bridge = bridges.create(name)
    estimate = np.polynomial.Polynomial(polynomial)
    primitive = (
        estimate - estimate.deriv() + estimate.deriv(2)
    )  # times exp(l): its derivative is exp(l) times the estimate
    y = torch.linspace(-1, 1, 6, dtype=torch.float64).view(1, 6)
    times = [0.8, 0.66, 0.5, 0.38, 0.21]

    def level(t: float) -> float:
        c = bridge.coefficients(t)
        return math.log(c.alpha.item() / c.gamma.item())

    states: list[Tensor] = []
    found = samplers.create("dbim", order=order)(
        bridge,
        lambda x, t, y: torch.full_like(y, estimate(level(t.item()))),
        y,
        x=0.5 * y + 0.2,
        times=[*times, 0.0],
        callback=lambda step, t, x, x0: states.append(x),
    )
    assert torch.isfinite(found).all()
    for before in range(order - 1, len(times) - 1):
        t, s = times[before], times[before + 1]
        c, n = bridge.coefficients(t), bridge.coefficients(s)
        ratio = (n.gamma / c.gamma).item()
        integral = primitive(level(s)) - math.exp(level(t) - level(s)) * primitive(level(t))
        exact = ratio * states[before] + (n.beta - ratio * c.beta) * y + n.alpha * integral
        torch.testing.assert_close(states[before + 1], exact, rtol=1e-9, atol=1e-9)
