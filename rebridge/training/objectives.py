"""What is minimised: the distance between what the network says and what it should have said."""

import torch
from torch import Tensor

from rebridge.denoisers import NetworkDenoiser
from rebridge.training.config import LossConfig
from rebridge.training.states import States


def loss_of(denoiser: NetworkDenoiser, x0: Tensor, y: Tensor, states: States, config: LossConfig) -> Tensor:
    """The mean distance over a batch, a scalar with gradients.

    On "x0" the clean estimate is compared with x0, on "output" the network's raw output with its target. Both are
    measured in the bridge's value range.
    """
    if config.on == "x0":
        return distance(denoiser(states.x_t, states.t, y), x0, config.kind)
    output = denoiser.output(states.x_t, states.t, y)
    return distance(output, denoiser.target(x0, y, states.x_t, states.t), config.kind)


def distance(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Mean of |a - b| (l1), (a - b)^2 (l2) or sqrt((a - b)^2 + 1e-6) (charbonnier) over all elements."""
    error = a - b
    if kind == "l1":
        return error.abs().mean()
    if kind == "l2":
        return error.square().mean()
    return torch.sqrt(error.square() + 1e-6).mean()
