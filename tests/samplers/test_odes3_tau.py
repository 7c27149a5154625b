"""ODES3's tau: the time at which the state is drawn from the posterior."""

import pytest
import torch

from rebridge import bridges, samplers


def test_tau_is_the_second_time_and_the_walk_that_of_those_times() -> None:
    bridge = bridges.create("ddbm-vp")
    sampler = samplers.create("odes3", steps=4, tau=0.9)
    times = sampler.times(bridge)
    assert times.tolist() == pytest.approx([1.0, 0.9, 0.6, 0.3, 0.0])
    y = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    z = torch.randn_like(y)
    by_tau, by_hand = (
        chosen(bridge, lambda x_t, t, y: torch.tanh(x_t + y), y, times=grid, noise=lambda like: z)
        for chosen, grid in ((sampler, None), (samplers.create("odes3", steps=4), times))
    )
    torch.testing.assert_close(by_tau, by_hand)
    with pytest.raises(ValueError, match="tau must lie between 0 and 1"):
        samplers.create("odes3", tau=1.0)
