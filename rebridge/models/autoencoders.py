"""Autoencoders, and the space of their latents.

Latent models (BBDM, ResShift, a bridge trained with `space: {autoencoder: ...}`) hold their autoencoder, so that one folder
holds all that restoring needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rebridge.networks.layers import pad_to_multiple

PUBLISHED_VQ = "published/vq"
"""Name of the published VQ autoencoders in a configuration."""


class Autoencoder(nn.Module):
    """Base of what carries images in [-1, 1] into latents and back."""

    config: Mapping[str, Any] = {}
    """Name and parameters with which `build_autoencoder` makes the same one again."""
    factor: int
    """How much smaller latents are than images, along each side."""
    channels: int
    """Channels of an image."""
    latent_channels: int
    """Channels of a latent."""

    def encode(self, image: Tensor) -> Tensor:
        """Latents of images (B, C, H, W)."""
        raise NotImplementedError("an autoencoder defines encode(image)")

    def decode(self, latent: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Images of latents (B, c, h, w), cropped to a size."""
        raise NotImplementedError("an autoencoder defines decode(latent)")


@dataclass(frozen=True)
class AutoencoderSpace:
    """Latents of an autoencoder of images in [-1, 1].

    Attributes:
        autoencoder: the autoencoder.
        multiple: sides of latents are multiples of this; images are extended for it.
        device: where it lies.
    """

    autoencoder: Autoencoder
    multiple: int
    device: torch.device

    @property
    def scale(self) -> int:
        """Image pixels per latent along each side."""
        return self.autoencoder.factor

    def encode(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) in [0, 1] into latents, extended to a multiple."""
        with torch.no_grad():
            return self.autoencoder.encode(self.pictures(images).to(self._dtype)).float()

    def decode(self, states: Tensor, size: tuple[int, int]) -> Tensor:
        """Turn latents back into images (B, C, *size)."""
        with torch.no_grad():
            return (self.autoencoder.decode(states.to(self._dtype), size).float() + 1) / 2

    def pictures(self, images: Tensor) -> Tensor:
        """Map images in [0, 1] to [-1, 1], extended as `encode` does."""
        return 2 * pad_to_multiple(images.to(self.device), self.scale * self.multiple) - 1

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.autoencoder.parameters()).dtype


def build_autoencoder(config: Mapping[str, Any]) -> Autoencoder:
    """Make the autoencoder that `Autoencoder.config` describes.

    Raises:
        ValueError: an unknown name, or parameters that do not fit.
    """
    from rebridge.models.formats.published.vq import VQAutoencoder

    builders = {PUBLISHED_VQ: VQAutoencoder}
    params = dict(config)
    name = str(params.pop("name", None))
    if name not in builders:
        raise ValueError(f"unknown autoencoder '{name}'; there are {', '.join(builders)}")
    try:
        built: Autoencoder = builders[name](**params)
    except TypeError as error:
        raise ValueError(f"autoencoder '{name}': {error}") from None
    built.config = dict(config)
    return built
