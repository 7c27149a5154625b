"""Losses: distances between the network's prediction and its target."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.denoisers import NetworkDenoiser
from rebridge.networks.conditions import NONE, Values
from rebridge.training.config import LossConfig
from rebridge.training.distances import LOSSES
from rebridge.training.timesteps import States
from rebridge.training.weights import loss_weights


def loss_of(
    denoiser: NetworkDenoiser, x0: Tensor, y: Tensor, states: States, config: LossConfig, told: Values = NONE
) -> Tensor:
    """The mean distance over a batch, a scalar with gradients.

    On "x0" the clean estimate is compared with x0, on "output" the network's raw output with its target, on "step" the
    next reverse step with the posterior (`step_means`). All are measured in the bridge's value range. Samples count by their time
    as `config.weighting` says; the frequency distance is never weighted. told: extra conditions by name.
    """
    if config.on == "step":
        x0_hat = denoiser(states.x_t, states.t, y, **told)
        prediction, target = step_means(denoiser.bridge, states, x0_hat, x0, y)
    elif config.on == "x0":
        prediction, target = denoiser(states.x_t, states.t, y, **told), x0
    else:
        prediction = denoiser.output(states.x_t, states.t, y, **told)
        target = denoiser.target(x0, y, states.x_t, states.t)
    if config.weighting == "none":
        loss = config.weight * distance(prediction, target, config.kind)
    else:
        weights = loss_weights(config.weighting, denoiser, states.t).to(target)
        pairs = zip(prediction.unsqueeze(1), target.unsqueeze(1), strict=True)
        apart = torch.stack([distance(a, b, config.kind) for a, b in pairs])
        loss = config.weight * (weights * apart).mean()
    return loss + config.frequency * frequency_distance(prediction, target) if config.frequency else loss


def step_means(bridge: Bridge, states: States, x0_hat: Tensor, x0: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The means of a reverse step with x0_hat and of the posterior given x0.

    The step is 1/steps long; all are (B, C, H, W).

    The first is the Euler step of the reverse SDE without its noise, x + (f + g^2 n / gamma)(s - t) in the bridge's clock. IR-SDE
    and GOUB train their noise networks on the L1 distance of the two (arXiv 2301.11699, 2312.10299; reverse_sde_step_mean and
    reverse_optimum_step in sde_utils.py of both). At a pinned end the drift is singular, and both means are those
    of the marginal at s, as in their samplers' first step.
    """
    t = states.t
    s = (t - 1 / (bridge.grid_steps or 100)).clamp(min=0)
    at_t = bridge.coefficients(t)
    regular = (at_t.alpha > 0) & (at_t.gamma > 0)
    inside = torch.where(regular, t, 0.5)
    length = bridge.clock(s) - bridge.clock(t)
    pull = bridge.squared_diffusion(inside) / bridge.coefficients(inside).gamma
    length, pull = (value.to(y).view(-1, 1, 1, 1) for value in (length, pull))
    drift = bridge.training_drift(states.x_t, y, inside)
    step = states.x_t + length * (drift + pull * bridge.noise_estimate(states.x_t, x0_hat, y, inside))
    prediction = torch.where(regular.view(-1, 1, 1, 1), step, bridge.posterior_mean(states.x_t, x0_hat, y, t, s))
    return prediction, bridge.posterior_mean(states.x_t, x0, y, t, s)


def distance(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Mean distance of two batches of images (B, C, H, W), by a name of `LOSSES`."""
    return LOSSES[kind](a, b)


def frequency_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean size of the Fourier coefficients of a - b, (B, C, H, W).

    The mean is over real and imaginary parts of an orthonormal transform.
    """
    return torch.view_as_real(torch.fft.rfft2((a - b).float(), norm="ortho")).abs().mean()


def classifier_loss(logits: Tensor, tasks: Sequence[str], classes: Sequence[str]) -> Tensor:
    """Mean cross-entropy of a classification (B, classes, H, W) of images.

    The classes of the images are `tasks`, the same at all places.
    """
    target = torch.tensor([classes.index(task) for task in tasks], device=logits.device)
    return F.cross_entropy(logits, target.view(-1, 1, 1).expand(-1, *logits.shape[2:]))
