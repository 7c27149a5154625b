"""No pair that runs away is said to fit, and a run of one warns."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.samplers import Sampler

PAIRS = [
    (name, sampler)
    for sampler in samplers.names()
    for name in bridges.names()
    if not samplers.create(sampler).evaluates_prior and samplers.create(sampler).fits(bridges.create(name))
]


def network(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(0.9 * x + 0.4 * y - 0.3 * t.view(-1, 1))


@pytest.mark.parametrize(("name", "sampler"), PAIRS)
def test_a_pair_that_fits_ends_near_the_images(name: str, sampler: str) -> None:
    y = 2 * torch.rand(8, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    for seed in range(2):
        end = samplers.create(sampler)(bridges.create(name), network, y, generator=torch.Generator().manual_seed(seed))
        assert end.abs().max() < 8
        assert end.std() < 1.5


PARAMETERS: list[tuple[str, dict[str, Any]]] = [
    ("resshift", {"steps": 4}), ("resshift", {"steps": 50, "kappa": 0.2}), ("brownian", {"max_var": 0.1}),
    ("brownian", {"max_var": 1.0}), ("ddbm-ve", {"sigma_max": 20.0}), ("ddbm-vp", {"beta_d": 8.0}),
    ("goub", {"lam": 100 / 255, "schedule": "constant"}), ("ir-sde", {"lam": 1.0}), ("i2sb", {"beta_max": 1.0}),
    ("rddm", {"sum_scale": 1.0}), ("indi", {"sigma": 1.0}), ("ve", {"sigma_max": 5.0}), ("unidb", {"gamma_inv": 1e-3}),
]  # fmt: skip
OTHERS = [bridges.create(name, **params) for name, params in PARAMETERS]


@pytest.mark.parametrize("steps", [5, 10, 40])
@pytest.mark.parametrize("sampler", [name for name in samplers.names() if samplers.create(name).needs_slopes])
def test_what_fits_at_other_steps_and_parameters_ends_near_the_images(sampler: str, steps: int) -> None:
    y = 2 * torch.rand(8, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    solver = samplers.create(sampler, steps=steps)
    ends = {
        (bridge.name, steps): solver(bridge, network, y, generator=torch.Generator().manual_seed(1)).abs().max().item()
        for bridge in OTHERS
        if solver.fits(bridge)
    }
    assert ends
    assert max(ends.values()) < 5, ends


@pytest.mark.parametrize("steps", [4, 15])
def test_the_reverse_sde_does_not_fit_resshift_and_warns(steps: int) -> None:
    bridge, sampler = bridges.create("resshift", steps=steps), samplers.create("sde", steps=steps)
    assert not sampler.fits(bridge)
    with pytest.warns(UserWarning, match=f"'sde' runs away on 'resshift' with {steps} steps"):
        sampler(bridge, network, torch.zeros(1, 4))


@pytest.mark.parametrize("name", bridges.names())
def test_what_is_recommended_fits_and_is_what_the_bridge_says(name: str) -> None:
    bridge = bridges.create(name)
    sampler = samplers.recommended(bridge)
    assert isinstance(sampler, Sampler)
    assert sampler.fits(bridge)
    described = dict(bridge.recommended)
    assert sampler.name == described.pop("name")
    assert described.items() <= sampler.params.items()
    assert samplers.recommended(name) == sampler


def test_without_noise_the_recommended_sampler_is_one_that_needs_none() -> None:
    assert samplers.recommended(bridges.create("goub", modulation="zero")) == samplers.create("dbim")
