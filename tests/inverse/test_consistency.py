"""Data-consistent bridges: estimates fit, and a trained bridge ends in images that agree with the measurement."""

import math

import pytest
import torch
from torch import Tensor

from rebridge import bridges, inverse, samplers
from rebridge.inverse import DataConsistent, operators


def network(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(0.9 * x_t + 0.4 * y)


@pytest.mark.parametrize("name", ["goub", "i2sb", "rdbm", "flow"])
@pytest.mark.parametrize("sampler", ["dbim", "resample"])
def test_a_bridge_ends_in_an_image_that_agrees_with_the_measurement(name: str, sampler: str) -> None:
    operator = operators.create("sr2", (3, 8, 8))
    truth = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    measured = operator.A(truth)
    degraded = operator.A_dagger(measured)
    ours = DataConsistent(network, operator, measured)
    walk, bridge = samplers.create(sampler, steps=5, grid="uniform"), bridges.create(name)
    plain, found = (walk(bridge, denoiser, degraded) for denoiser in (network, ours))
    slack = 0.02 if name == "i2sb" else 1e-6  # I2SB's t = 0 holds a little of y and noise
    assert (operator.A(found) - measured).abs().max() < slack
    assert (operator.A(plain) - measured).abs().max() > 0.05


def test_trust_leads_from_the_estimate_to_the_measurement() -> None:
    operator = operators.create("sr2", (3, 8, 8))
    x, measured = torch.rand(1, 3, 8, 8, dtype=torch.float64), torch.rand(1, 3, 4, 4, dtype=torch.float64)
    t = torch.ones(1, dtype=torch.float64)
    off = []
    for gamma in (1e-3, 1.0, 1e3, math.inf):
        found = DataConsistent(network, operator, measured, gamma)(x, t, x)
        off.append((operator.A(found) - measured).norm().item())
    assert off == sorted(off, reverse=True)
    assert off[-1] < 1e-9
    torch.testing.assert_close(DataConsistent(network, operator, measured, 1e-12)(x, t, x), network(x, t, x))


def test_distrust_is_refused() -> None:
    with pytest.raises(ValueError, match="gamma must be positive, got 0"):
        inverse.DataConsistent(network, operators.create("sr2", (3, 8, 8)), torch.zeros(1, 3, 4, 4), 0.0)
