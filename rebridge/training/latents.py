"""Training in the latents of an autoencoder: `space: {autoencoder: FOLDER}`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rebridge.models.autoencoders import Autoencoder, load_autoencoder
from rebridge.networks.catalogue import NETWORKS
from rebridge.training.config_files import ConfigError, expand

KEY = "space.autoencoder"


class Latents:
    """The way into the latents of an autoencoder and back.

    Args:
        autoencoder: is moved to the device.
        device: where the bridge is trained.
    """

    def __init__(self, autoencoder: Autoencoder, device: torch.device) -> None:
        self.autoencoder = autoencoder.to(device)
        self.device = device

    @torch.no_grad()
    def enter(self, images: Tensor) -> Tensor:
        """Latents of images (B, 3, H, W) in [0, 1]."""
        return self.autoencoder.encode(2 * images.to(self.device) - 1)

    @torch.no_grad()
    def leave(self, states: Tensor, size: tuple[int, int]) -> Tensor:
        """Images (B, 3, *size) of latents, about in [0, 1]."""
        return (self.autoencoder.decode(states, size) + 1) / 2


def latents_of(config: Any, device: torch.device) -> Latents | None:
    """Load the autoencoder that a `TrainConfig` names; None for pixels.

    Raises:
        ConfigError: it cannot be loaded, or does not fit network or patches; names the key.
    """
    if config.space is None:
        return None
    try:
        found = load_autoencoder(expand(config.space.autoencoder, KEY))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{KEY}: {error}") from None
    known = NETWORKS.parameters(config.network.name) if config.network.name in NETWORKS else {}
    channels = (known | config.network.params).get("channels", 3)
    if channels != found.latent_channels or found.channels != 3:
        raise ConfigError(
            f"{KEY}: its latents have {found.latent_channels} channels of images of {found.channels}, "
            f"network.channels is {channels}"
        )
    for key, side in (("data.patch", config.data.patch), ("data.validation_size", config.data.validation_size)):
        if side % found.factor:
            raise ConfigError(
                f"{key} must be a multiple of {found.factor} in the latents of this autoencoder, got {side}"
            )
    return Latents(found, device)
