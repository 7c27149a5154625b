"""What is minimised: the distance between what the network says and what it should have said."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.denoisers import NetworkDenoiser
from rebridge.training.config import LossConfig
from rebridge.training.states import States


def loss_of(denoiser: NetworkDenoiser, x0: Tensor, y: Tensor, states: States, config: LossConfig) -> Tensor:
    """The mean distance over a batch, a scalar with gradients.

    On "x0" the clean estimate is compared with x0, on "output" the network's raw output with its target. Both are
    measured in the bridge's value range.
    """
    if config.on == "x0":
        said, truth = denoiser(states.x_t, states.t, y), x0
    else:
        said, truth = denoiser.output(states.x_t, states.t, y), denoiser.target(x0, y, states.x_t, states.t)
    loss = config.weight * distance(said, truth, config.kind)
    return loss + config.frequency * frequency_distance(said, truth) if config.frequency else loss


def distance(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Mean of |a - b| (l1), (a - b)^2 (l2) or sqrt((a - b)^2 + 1e-6) (charbonnier) over all elements."""
    error = a - b
    if kind == "l1":
        return error.abs().mean()
    if kind == "l2":
        return error.square().mean()
    return torch.sqrt(error.square() + 1e-6).mean()


def frequency_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute real and imaginary part of the Fourier coefficients of a - b, (B, C, H, W), of an orthonormal transform."""
    return torch.view_as_real(torch.fft.rfft2((a - b).float(), norm="ortho")).abs().mean()


def guide_loss(model: nn.Module, y: Tensor, tasks: Sequence[str], kinds: Sequence[str]) -> Tensor:
    """Mean cross-entropy over all places of what the model's guide says of y (B, C, H, W), whose kinds are `tasks`."""
    logits: Tensor = model(y, y.new_ones(len(y)), y, tell=True)
    truth = torch.tensor([kinds.index(task) for task in tasks], device=y.device)
    return F.cross_entropy(logits, truth.view(-1, 1, 1).expand(-1, *logits.shape[2:]))
