"""Every sampler with every bridge: it walks, or one sentence says why it cannot; and what users get wrong."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.denoisers import Estimate
from rebridge.samplers import times

Y = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
X0 = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(1)) * 2 - 1
NOISELESS = {"flow"}
PINNED = {"rdbm", "goub", "unidb", "ddbm-ve", "ddbm-vp", "brownian", "i2sb", "fod"}
NOT_ONE = {"ddbm-vp", "diffuir", "vp", "ve", "rectified-flow"}
"""Bridges whose alpha and beta do not add up to 1."""
NEED_NOISE = {"sde", "mean-ode", "heun-churn", "odes3", "exponential", "irbridge"}


def unused(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A denoiser that is never evaluated."""
    raise AssertionError


OWN_TIMES = {"irbridge", "sdedit", "denoise"}
"""Samplers whose default grid does not begin at t = 1."""


@pytest.mark.parametrize("sampler", samplers.names())
@pytest.mark.parametrize("name", bridges.names())
def test_pair_walks_to_a_constant_estimate_or_is_refused(name: str, sampler: str) -> None:
    bridge, walk = bridges.create(name), samplers.create(sampler, steps=12)
    impossible = (name in NOISELESS and sampler in NEED_NOISE) or (sampler == "odes3" and name not in PINNED)
    impossible |= sampler == "multiplicative" and name in NOT_ONE
    if impossible:
        with pytest.raises(
            ValueError,
            match=r"needs a bridge with noise|whose noise vanishes at t = 1|has no noise|needs alpha .* beta = 1",
        ):
            walk(bridge, lambda x, t, y: X0, Y)
        return
    out = walk(bridge, lambda x, t, y: X0, Y)
    assert out.dtype == Y.dtype
    assert torch.isfinite(out).all()
    if sampler in ("dbim", "exponential") and name != "i2sb":  # exact for a constant estimate, and clean at t = 0
        torch.testing.assert_close(out, X0, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("grid", list(times.GRIDS))
@pytest.mark.parametrize("name", ["rdbm", "brownian", "ir-sde", "vp"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_time_grids_fall_strictly_from_one_to_zero(grid: str, name: str, steps: int) -> None:
    result = times.create(grid, bridges.create(name), steps)
    assert result[0] == 1
    assert result[-1] == 0
    assert (result.diff() < 0).all()
    assert grid == "karras" or len(result) == steps + 1
    assert len(result) == steps + 1


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60))
def test_time_grids_follow_their_formulas(steps: int) -> None:
    bridge = bridges.create("goub")
    share = np.arange(steps + 1) / steps
    low = 1e-4 ** (1 / 7)
    expected = {
        "uniform": 1 - share,
        "quadratic": (1 - share) ** 2,
        "cosine": np.cos(np.pi * share / 2) ** 2,
        "index": np.floor(100 * (1 - share) + 1e-9) / 100,
        "karras": np.append((1 + np.arange(steps) / (steps - 1) * (low - 1)) ** 7, 0),
    }
    for name, values in expected.items():
        assert times.create(name, bridge, steps).numpy() == pytest.approx(values, abs=1e-12)
    indices = np.floor(1000 * np.sqrt(np.arange(steps - 1) / (steps - 1)) + 1e-9)
    assert times.create("quad", bridge, steps).numpy() == pytest.approx([*(1 - indices / 1000), 0.001, 0], abs=1e-12)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("dbim", {"steps": 10, "eta": 0.0, "order": 1, "grid": "uniform", "start": None, "compat": False}),
        ("ode", {"method": "euler"}),
        ("sde", {"eta": 1.0}),
        ("heun-churn", {"churn": 0.33}),  # arXiv 2309.16948
        ("exponential", {"order": 1, "eta": 0.0, "prediction": "x0", "extrapolate": "log"}),
        ("increments", {"hold": False, "start_noise": None}),
        ("residual-posterior", {"eta": 1.0}),
        ("multiplicative", {"method": "markov"}),
        ("ddim", {"steps": 25, "eta": 0.0}),
        ("sdedit", {"steps": 25, "strength": 0.5}),
        ("denoise", {"sigma": 25.0}),
    ],
)
def test_a_sampler_without_parameters_is_the_documented_one(name: str, published: dict[str, object]) -> None:
    params = samplers.create(name).params
    assert {key: params[key] for key in published} == published


@pytest.mark.parametrize("name", ["vp", "ve", "rectified-flow", "ir-sde"])
@settings(max_examples=20, deadline=None)
@given(sigma=st.floats(2, 120))
def test_removal_of_noise_begins_where_the_process_has_that_noise(name: str, sigma: float) -> None:
    process = bridges.create(name)
    sampler = samplers.create("denoise", sigma=sigma, steps=4)
    grid = sampler.times(process)
    c = process.coefficients(grid[0])
    width = process.value_range[1] - process.value_range[0]
    reached = min(sigma / 255 * width, float(process.noise_level(1.0)))
    assert c.gamma.item() / c.alpha.item() == pytest.approx(reached, rel=1e-3, abs=1e-3)
    assert grid.numpy() == pytest.approx(grid[0].item() * np.linspace(1, 0, 5))


def test_log_snr_grid_is_even_in_log_snr() -> None:
    bridge = bridges.create("ddbm-vp")
    inner = times.create("log-snr", bridge, 20)[1:-1]
    c = bridge.coefficients(inner)
    gaps = torch.log(c.gamma / c.alpha).diff()
    torch.testing.assert_close(gaps, gaps.mean().expand_as(gaps), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("name", ["rdbm", "goub"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_dbim_leaves_a_pinned_end_in_the_way_of_the_bridge_or_with_noise_to_integrate(name: str, order: int) -> None:
    """By "mean" at order 1 on rdbm, as its authors do; orders 2 and 3 carry a noise along, and so need one."""
    bridge, drawn = bridges.create(name), []

    def noise(like: Tensor) -> Tensor:
        drawn.append(like)
        return torch.ones_like(like)

    samplers.create("dbim", steps=4, order=order)(bridge, lambda x, t, y: X0, Y, noise=noise)
    assert len(drawn) == (0 if name == "rdbm" and order == 1 else 1)


@pytest.mark.parametrize("sampler", [name for name in samplers.names() if name not in OWN_TIMES])
def test_callback_sees_every_step_and_its_estimate(sampler: str) -> None:
    seen = []
    walk = samplers.create(sampler, steps=5)
    walk(bridges.create("goub"), lambda x, t, y: X0, Y, callback=lambda *args: seen.append(args))
    assert [step for step, *_ in seen] == [0, 1, 2, 3, 4]
    assert [round(t, 3) for _, t, *_ in seen][1:] == [0.8, 0.6, 0.4, 0.2]
    for _, _, x_t, x0_hat in seen:
        assert x_t.shape == x0_hat.shape == Y.shape
    assert torch.equal(seen[-1][3], X0)


def test_callback_receives_the_state_before_the_step() -> None:
    states = []
    samplers.create("dbim", steps=3)(
        bridges.create("rdbm"), lambda x, t, y: X0, Y, callback=lambda step, t, x_t, x0: states.append(x_t)
    )
    assert torch.equal(states[0], Y)


@pytest.mark.parametrize(("sampler", "calls"), [("dbim", 10), ("odes3", 18), ("exponential", 10), ("ode", 10)])
def test_number_of_network_calls_is_the_stated_one(sampler: str, calls: int) -> None:
    count = 0

    def denoiser(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return X0

    samplers.create(sampler, steps=10)(bridges.create("goub"), denoiser, Y)
    assert count == calls


def test_generator_makes_results_repeatable_and_the_noise_callable_replays_them() -> None:
    walk, bridge = samplers.create("dbim", eta=1.0), bridges.create("goub")
    drawn = []

    def recording(like: Tensor) -> Tensor:
        drawn.append(torch.randn(like.shape, generator=generator))
        return drawn[-1]

    generator = torch.Generator().manual_seed(5)
    first = walk(bridge, lambda x, t, y: 0.5 * x, Y, noise=recording)
    again = walk(bridge, lambda x, t, y: 0.5 * x, Y, generator=torch.Generator().manual_seed(5))
    assert torch.equal(first, again)
    replay = iter(drawn)
    assert torch.equal(walk(bridge, lambda x, t, y: 0.5 * x, Y, noise=lambda like: next(replay)), first)


def test_noise_of_an_estimate_is_reused_instead_of_the_implied_one() -> None:
    bridge = bridges.create("goub")
    c = bridge.coefficients(torch.tensor([0.6, 0.3])).like(Y.double())
    noise = torch.randn(Y.shape, dtype=torch.float64)
    out = samplers.create("dbim")(
        bridge, lambda x, t, y: Estimate(X0.double(), noise), Y.double(), x=Y.double(), times=[0.6, 0.3]
    )
    expected = c.alpha[1] * X0 + c.beta[1] * Y + c.gamma[1] * noise
    torch.testing.assert_close(out, expected)


def test_residual_modulation_leaves_intact_pixels_alone_whatever_the_noise() -> None:
    x0 = Y.clone()
    x0[..., :2] += 0.4
    out = samplers.create("dbim", eta=1.0, start="noise")(bridges.create("rdbm"), lambda x, t, y: x0, Y)
    torch.testing.assert_close(out[..., 2:], Y[..., 2:], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: samplers.create("dbmi"), "unknown sampler 'dbmi'"),
        (lambda: samplers.create("dbim", step=3), "has no parameter 'step'"),
        (lambda: samplers.create("dbim", steps=0), "steps must be at least 1, got 0"),
        (lambda: samplers.create("dbim", eta=1.5), r"eta must lie in \[0, 1\]"),
        (lambda: samplers.create("dbim", order=4), "order must be 1, 2 or 3"),
        (lambda: samplers.create("dbim", order=2, eta=0.5), "order 2 is deterministic"),
        (lambda: samplers.create("dbim", grid="linear"), "unknown time grid 'linear'"),
        (lambda: samplers.create("dbim", start="nosie"), "start must be mean or noise"),
        (lambda: samplers.create("ode", method="rk4"), "method must be euler or heun"),
        (lambda: samplers.create("heun-churn", churn=1.0), r"churn must lie in \[0, 1\)"),
        (lambda: samplers.create("dbim", order=2)(bridges.create("flow"), unused, Y), "needs a bridge with noise"),
        (lambda: samplers.create("dbim")(bridges.create("goub"), unused, Y, times=[0.2, 0.5]), "times must decrease"),
        (lambda: samplers.create("dbim")(bridges.create("goub"), unused, Y, times=[0.5]), "at least two times"),
        (lambda: samplers.create("dbim")(bridges.create("goub"), unused, Y * math.nan), "y holds NaN"),
        (lambda: samplers.create("dbim")(bridges.create("goub"), unused, Y, x=Y[:1]), "x must be like y"),
        (lambda: samplers.create("dbim", grid="log-snr")(bridges.create("flow"), unused, Y), "log-snr grid needs"),
    ],
)
def test_mistakes_give_one_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()
