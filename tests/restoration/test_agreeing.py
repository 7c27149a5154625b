"""A trained bridge takes a measurement: it restores the picture, and the result agrees with what was measured."""

import pytest
import torch
from torch import Tensor, nn

from rebridge import Restorer, bridges, networks, samplers, solve
from rebridge.inverse import DataConsistent, Measurement, operators
from rebridge.models import TrainedModel
from tests.inverse.conftest import StandIn, image


def trained(bridge: str) -> TrainedModel:
    """A bridge whose network changes the picture at random."""
    torch.manual_seed(0)
    network = networks.create("fast", widths=[4, 8], blocks=[1], middle=1, embedding=8)
    tail = network.tail
    assert isinstance(tail, nn.Conv2d)
    nn.init.normal_(tail.weight, std=0.05)
    return TrainedModel.of(network, bridges.create(bridge), "residual", sampler={"name": "dbim", "steps": 3})


def grey_image() -> Tensor:
    """Far enough from black and white that nothing is cut off."""
    return 0.3 + 0.4 * image()


@pytest.mark.parametrize("name", ["rdbm", "goub"])
@pytest.mark.parametrize("operator", ["sr2", "mask", "colour"])
def test_the_result_agrees_with_the_measurement(name: str, operator: str) -> None:
    known = operators.create(operator, (3, 16, 24))
    y = known.A(grey_image())
    restore = Restorer(trained(name))
    found = restore(Measurement(y, known))
    assert (known.A(found) - y).abs().max() < 1e-4
    shown = known.to_picture(y)
    blind = restore(known.A_dagger(y).clamp(0, 1) if shown is None else shown)
    assert (known.A(blind) - y).abs().max() > 0.01


def test_it_is_the_bridge_with_data_consistent_estimates() -> None:
    model, operator = trained("rdbm"), operators.create("sr2", (3, 16, 24))
    y = operator.A(grey_image())
    picture = operator.to_picture(y)
    assert picture is not None
    start, measured = 2 * picture - 1, 2 * y - 1
    estimates = DataConsistent(model.given(picture), operator, measured)
    expected = samplers.create("dbim", steps=3)(model.process, estimates, start)
    found = Restorer(model).sample(Measurement(y, operator), 1)
    torch.testing.assert_close(found.mean, (expected + 1) / 2, rtol=0, atol=1e-5)
    assert found.calls == 3
    torch.testing.assert_close(solve(y, operator, model, steps=3).mean, found.mean)


def test_noise_is_not_fitted() -> None:
    restore, operator = Restorer(trained("rdbm")), operators.create("noise", (3, 16, 24))
    y = grey_image() + 0.1 * torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    off = [(restore(Measurement(y, operator, sigma)) - y).norm().item() for sigma in (0.0, 0.01, 0.1, 1.0)]
    assert off[0] < 1e-3 + (y - y.clamp(0, 1)).norm().item()
    assert off == sorted(off)
    blind = (restore(y.clamp(0, 1)) - y).norm().item()
    assert off[-1] == pytest.approx(blind, rel=0.05)


def test_an_operator_of_another_library_will_do() -> None:
    y = 0.5 * grey_image()
    found = Restorer(trained("rdbm"))(Measurement(y, StandIn()))
    torch.testing.assert_close(0.5 * found, y, rtol=0, atol=1e-4)


def test_a_zero_shot_method_still_needs_a_generative_model() -> None:
    operator = operators.create("sr2", (3, 16, 24))
    with pytest.raises(ValueError, match="restores along the bridge rdbm; a prior needs vp"):
        Restorer(trained("rdbm"))(Measurement(operator.A(grey_image()), operator), method="ddnm")
