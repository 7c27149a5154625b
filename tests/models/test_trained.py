"""Trained models bound to an image or to none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rebridge import bridges, networks
from rebridge.denoisers import as_estimate
from rebridge.models import TrainedModel


def model(optional: bool, prediction: str = "noise") -> TrainedModel:
    torch.manual_seed(0)
    widths = {"widths": (8, 8), "blocks": (1,), "middle": 1, "embedding": 8}
    network = networks.create("fast", optional_condition=optional, **widths)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    return TrainedModel.of(network, bridges.create("vp"), prediction)


@pytest.mark.parametrize("prediction", ["noise", "velocity", "x0"])
def test_a_model_bound_to_no_image_sees_none_whatever_it_is_given(prediction: str) -> None:
    whole = model(optional=True, prediction=prediction)
    x, y = torch.randn(2, 1, 3, 16, 16)
    t = torch.tensor([0.6])

    def estimates(condition: Tensor | None) -> list[Tensor]:
        denoiser = whole.given(condition)
        with torch.no_grad():
            return [as_estimate(denoiser(x, t, seen)).x0 for seen in (y, torch.zeros_like(y), -y)]

    without = estimates(None)
    assert torch.equal(without[0], without[1])
    assert torch.equal(without[0], without[2])
    with_y = estimates((y + 1) / 2)
    assert not torch.allclose(with_y[0], without[0])
