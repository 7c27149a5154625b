"""A prior of `rebridge.priors` as zero-shot solvers need it: without a degraded image, in pixels, and differentiable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser
from rebridge.networks.layers import pad_to_multiple
from rebridge.priors import PixelPrior, Prior


@dataclass(frozen=True)
class Unconditional:
    """denoiser: of the process `bridge`, for images (B, channels, H, W) of any size. network: the module inside it, or None."""

    bridge: Bridge
    denoiser: Denoiser
    network: nn.Module | None
    channels: int
    device: torch.device


def unconditional(prior: Prior) -> Unconditional:
    """A prior's p(x). Raises PriorError for one that was trained with its condition only, ValueError for one in latents.

    Pixel priors of ours and diffusers' unconditional pipelines can be differentiated and adapted; another `Prior` can where
    its own denoiser can, and shows no network.
    """
    if isinstance(prior, PixelPrior):
        free = PixelPrior(prior.model, condition=False)
        denoiser = free.given(torch.empty(0))
        return Unconditional(free.process, denoiser, free.model.network, free.channels, free.device)
    if getattr(prior, "vae", None) is not None:
        raise ValueError(
            "zero-shot solvers work on pixels, and this prior lives in the latents of an autoencoder: "
            "use a pixel prior, or `rebridge restore --method irbridge`"
        )
    unet = getattr(prior, "unet", None)
    if isinstance(unet, nn.Module):
        return Unconditional(prior.process, Pipeline(prior), unet, prior.channels, prior.device)

    def given(x_t: Tensor, t: Tensor, y: Tensor) -> Any:
        return prior.given(torch.zeros_like(x_t))(x_t, t, y)

    return Unconditional(prior.process, given, None, prior.channels, prior.device)


class Pipeline:
    """The network of a diffusers pipeline in pixels, which can be differentiated; estimates are clamped to [-1, 1]."""

    def __init__(self, prior: Any) -> None:
        self.prior = prior

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """x0_hat for states x_t (B, C, H, W) of any size and times t (B,)."""
        height, width = x_t.shape[-2:]
        estimate: Tensor = self.prior.estimate(pad_to_multiple(x_t, self.prior.multiple), t)
        return estimate[..., :height, :width].clamp(-1.0, 1.0)
