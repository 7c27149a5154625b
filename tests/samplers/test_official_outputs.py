"""Samplers replayed against the outputs of the official code, through the public names only."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.bridges import Bridge
from rebridge.samplers import Sampler
from tests.reference import Replay, denoiser, inputs, load

Y, NOISE = inputs()


def assert_replayed(result: Tensor, official: list[Any], rtol: float) -> None:
    """Agreement relative to the largest value, as the official outputs are in single precision."""
    expected = torch.tensor(official)
    assert result.dtype == Y.dtype
    assert ((result - expected).abs().max() / expected.abs().max()).item() < rtol


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_rdbm_deterministic_chain(steps: int) -> None:
    official = load("rdbm")
    bridge = bridges.create("rdbm", lam=official["lambda"], modulation="one", steps=official["T"])
    result = samplers.create("dbim", steps=steps)(bridge, denoiser, Y)
    assert_replayed(result, official["samples (deterministic, clamp x0 to [-1,1], by NFE)"][str(steps)], 1e-6)


@pytest.mark.parametrize("name", ["goub", "unidb"])
def test_mean_ode_of_goub_and_unidb(name: str) -> None:
    official = load(name)
    bridge = bridges.create(name, lam=official["lambda"], steps=official["T"], eps=official["eps"])
    result = samplers.create("mean-ode", steps=100)(bridge, denoiser, Y)
    assert_replayed(result, official["mean_ode"], 1e-4)


def test_ode_of_irsde_from_its_own_start() -> None:
    official = load("irsde")
    bridge = bridges.create("ir-sde", lam=official["max_sigma"])
    start = Y + official["max_sigma"] * NOISE[129]
    result = samplers.create("ode", steps=100)(bridge, denoiser, Y, x=start)
    assert_replayed(result, official["ode"], 1e-4)
    by_itself = samplers.create("ode", steps=100)(bridge, denoiser, Y, noise=Replay(NOISE[129:]))
    torch.testing.assert_close(by_itself, result)


def test_bbdm_stochastic_chain_uses_the_official_noise() -> None:
    official = load("bbdm")
    times = [(i + 1) / official["T"] for i in official["steps"]] + [0.0]
    noise = Replay(NOISE)
    result = samplers.create("dbim", eta=1.0)(bridges.create("brownian"), denoiser, Y, times=times, noise=noise)
    assert_replayed(result, official["eta=1"], 1e-5)
    assert noise.drawn == official["noise used"]


@pytest.mark.parametrize(
    ("bridge", "sampler"),
    [
        (bridges.create("i2sb"), samplers.create("exponential")),
        (bridges.create("i2sb"), samplers.create("dbim", compat=True)),
        (bridges.create("i2sb", modulation="zero"), samplers.create("dbim")),
    ],
)
def test_i2sb_optimal_transport_ode_is_the_posterior_mean(bridge: Bridge, sampler: Sampler) -> None:
    official = load("i2sb")
    times = [i / (official["n"] - 1) for i in reversed(official["steps"])]
    assert_replayed(sampler(bridge, denoiser, Y, times=times), official["ot_ode"], 1e-4)


@pytest.mark.parametrize("beta_max", [0.3, 1.0])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_i2sb_steps_are_its_authors_products_of_two_gaussians(beta_max: float, eta: float) -> None:
    """mean (D^2 x0 + s_p^2 x) / (D^2 + s_p^2), variance s_p^2 D^2 / (s_p^2 + D^2) with D^2 = s_n^2 - s_p^2; no last noise."""
    betas = torch.linspace(1e-4**0.5, (beta_max / 1000) ** 0.5, 1000, dtype=torch.float64).square()[:500]
    forward = torch.cat([betas, betas.flip(0)]).cumsum(0)
    nodes = [999, 700, 300, 100, 10, 0]
    x, draws = Y.double(), list(NOISE[:10].double())
    for n, p in pairwise(nodes):
        x0 = denoiser(x, torch.tensor([n / 999], dtype=torch.float64), Y.double())
        between = forward[n] - forward[p]
        x = (between * x0 + forward[p] * x) / (between + forward[p])
        if p > 0 and eta:
            x = x + (forward[p] * between / (forward[p] + between)).sqrt() * draws.pop(0)
    sampler = samplers.create("dbim", eta=eta, compat=eta == 0)
    noise = Replay(NOISE.double())
    ours = sampler(
        bridges.create("i2sb", beta_max=beta_max), denoiser, Y.double(), times=[n / 999 for n in nodes], noise=noise
    )
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("first", [[], [1.0]])
def test_dbim_on_ddbm_vp(eta: float, first: list[float]) -> None:
    official = load("ddbm_vp")
    noise = Replay(NOISE)
    sampler = samplers.create("dbim", eta=eta, start="noise")
    result = sampler(bridges.create("ddbm-vp"), denoiser, Y, times=[*first, *official["dbim ts"]], noise=noise)
    assert_replayed(result, official[f"dbim eta={eta}"], 1e-5)


def test_heun_on_ddbm_vp_with_the_official_number_of_calls() -> None:
    official = load("ddbm_vp")
    calls = []

    def counted(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        calls.append(t)
        return denoiser(x_t, t, y)

    sampler = samplers.create("heun-churn", churn=0.0)
    result = sampler(bridges.create("ddbm-vp"), counted, Y, times=official["heun ts"])
    assert_replayed(result, official["heun churn=0"], 1e-5)
    assert len(calls) == official["heun nfe"]
