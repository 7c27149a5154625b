"""Combinations that do nothing are said: one step of a network that cannot see, and states that teach it nothing."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from rebridge import Restorer, bridges, samplers
from rebridge.denoisers import NetworkDenoiser


class Anything(nn.Module):
    """A network with some output."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.factor * (torch.sin(5 * y) + x)


def run(name: str, prediction: str, steps: int, factor: float) -> tuple[Tensor, bool]:
    """The result of a run, and whether it was said that the network cannot matter."""
    bridge = bridges.create(name)
    low, high = bridge.value_range
    y = low + (high - low) * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    denoiser = NetworkDenoiser(Anything(factor), bridge, prediction, clamp=False).eval()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        restored = samplers.create("dbim", steps=steps)(bridge, denoiser, y, generator=torch.Generator().manual_seed(1))
    return restored, any("one step returns" in str(warning.message) for warning in caught)


@pytest.mark.filterwarnings("ignore:on 'flow'")
@pytest.mark.parametrize("name", bridges.names())
@pytest.mark.parametrize("prediction", ["x0", "residual", "noise", "velocity", "preconditioned", "blend"])
def test_one_step_in_which_the_network_does_not_matter_is_said_and_no_other(name: str, prediction: str) -> None:
    if name == "flow" and prediction in ("noise", "velocity"):
        pytest.skip("refused")
    (a, said), (b, _) = run(name, prediction, 1, 1.0), run(name, prediction, 1, 0.5)
    assert said == torch.equal(a, b)
    (a, said), (b, _) = run(name, prediction, 2, 1.0), run(name, prediction, 2, 0.5)
    assert not said
    assert not torch.equal(a, b)


def test_a_restorer_says_it_too() -> None:
    bridge = bridges.create("goub")
    restore = Restorer(NetworkDenoiser(Anything(), bridge, "noise").eval(), bridge, {"name": "dbim", "steps": 2})
    with pytest.warns(UserWarning, match="one step returns the image as it is"):
        restore(torch.rand(1, 3, 8, 8), steps=1)


@pytest.mark.parametrize("prediction", ["preconditioned", "blend"])
def test_a_state_that_shows_the_clean_image_is_said(prediction: str) -> None:
    flow = bridges.create("flow")
    with pytest.warns(UserWarning, match="has no noise, a state before t = 1 shows the clean image"):
        NetworkDenoiser(Anything(), flow, prediction)
    x0, y, t = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.tensor([0.3, 0.9])
    x_t = flow.forward(x0, y, t, torch.randn_like(y))
    share = t.view(-1, 1, 1, 1)
    torch.testing.assert_close((x_t - share * y) / (1 - share), x0, rtol=0, atol=1e-5)
