"""A walk holds few states at once, whatever the sampler."""

import gc

import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers

MOST_STATES = 4


def fitting(sampler: samplers.Sampler) -> bridges.Bridge:
    made = (bridges.create(name) for name in ("goub", "rdbm", "vp", *bridges.names()))
    return next(bridge for bridge in made if sampler.fits(bridge))


@pytest.mark.parametrize(
    "name", [*samplers.names(), "dbim:order=3", "dbim:eta=1", "ode:method=heun", "heun-churn:churn=0"]
)
def test_a_walk_holds_at_most_four_states_beside_the_degraded_image(name: str) -> None:
    sampler = samplers.parse(name)
    y = torch.rand(1, 3, 37, 53) * 2 - 1
    most = 0

    def denoiser(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        nonlocal most
        gc.collect()
        known = [one for one in gc.get_objects() if type(one) is Tensor and one.shape == y.shape]
        most = max(most, len({one.untyped_storage().data_ptr() for one in known} - {y.untyped_storage().data_ptr()}))
        return 0.5 * x + 0.5 * y

    bridge = fitting(sampler)
    gc.freeze()  # what was there before is not looked through
    try:
        sampler(bridge, denoiser, y)
    finally:
        gc.unfreeze()
    assert 0 < most <= MOST_STATES
