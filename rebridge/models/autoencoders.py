"""Autoencoders, and the space of their latents.

Latent models (BBDM, ResShift, a bridge trained with `space: {autoencoder: ...}`) hold their autoencoder, so that one folder
holds all that restoring needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rebridge.images.atomic import write_atomic
from rebridge.images.documents import read_json
from rebridge.networks.layers import pad_to_multiple

PUBLISHED_VQ = "published/vq"
"""Name of the published VQ autoencoders in a configuration."""
DIFFUSERS_KL = "diffusers/kl"
"""Name of diffusers' AutoencoderKL, Stable Diffusion's among them."""
_PREFIX = "autoencoder."
"""Of the names of its weights in a model folder."""


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


class KLAutoencoder(Autoencoder):
    """The AutoencoderKL of diffusers.

    Latents are the mode of what it encodes, scaled as its config says.

    Args:
        settings: of `diffusers.AutoencoderKL`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        try:
            from diffusers import AutoencoderKL
        except ImportError:
            raise ValueError("this autoencoder needs the package diffusers: pip install 'rebridge[priors]'") from None
        self.model: Any = AutoencoderKL(**settings)
        known = self.model.config
        self.channels, self.latent_channels = int(known.in_channels), int(known.latent_channels)
        self.factor = 2 ** (len(known.block_out_channels) - 1)
        self.scale, self.shift = float(known.scaling_factor), float(known.shift_factor or 0.0)

    def encode(self, image: Tensor) -> Tensor:
        """See `Autoencoder.encode`; sides are extended to a multiple of the factor."""
        mode: Tensor = self.model.encode(pad_to_multiple(image, self.factor)).latent_dist.mode()
        return (mode - self.shift) * self.scale

    def decode(self, latent: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See `Autoencoder.decode`."""
        image: Tensor = self.model.decode(latent / self.scale + self.shift).sample
        return image if size is None else image[..., : size[0], : size[1]]


def save_autoencoder(autoencoder: Autoencoder, folder: str | Path) -> Path:
    """Write a folder that `load_autoencoder` reads."""
    from safetensors.torch import save

    place = Path(folder)
    weights = {_PREFIX + name: value.contiguous() for name, value in autoencoder.state_dict().items()}
    write_atomic(place / "model.safetensors", save(weights), overwrite=True)
    config = {"format": 1, "autoencoder": dict(autoencoder.config)}
    write_atomic(place / "config.json", (json.dumps(config, indent=2) + "\n").encode(), overwrite=True)
    return place


def load_autoencoder(folder: str | Path) -> Autoencoder:
    """Load an autoencoder for training in its latents.

    Args:
        folder: of `save_autoencoder`, of a model that holds one, or of diffusers' AutoencoderKL.

    Raises:
        ValueError: no such folder, or none of these; one sentence.
    """
    from safetensors.torch import load_file

    place = Path(folder)
    try:
        config = read_json(place / "config.json")
        if config.get("_class_name") == "AutoencoderKL":
            settings = {key: value for key, value in config.items() if not key.startswith("_")}
            found = build_autoencoder({"name": DIFFUSERS_KL, **settings})
            weights = {f"model.{key}": value for key, value in load_file(place / _DIFFUSERS_WEIGHTS).items()}
        else:
            found = build_autoencoder(config["autoencoder"])
            stored = load_file(place / "model.safetensors")
            weights = {key.removeprefix(_PREFIX): value for key, value in stored.items() if key.startswith(_PREFIX)}
        found.load_state_dict(weights)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise ValueError(f"{place} holds no autoencoder: {' '.join(str(error).split())[:200]}") from None
    return found.eval().requires_grad_(False)


_DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"


def build_autoencoder(config: Mapping[str, Any]) -> Autoencoder:
    """Make the autoencoder that `Autoencoder.config` describes.

    Raises:
        ValueError: an unknown name, or parameters that do not fit.
    """
    from rebridge.models.formats.published.vq import VQAutoencoder

    builders: dict[str, Any] = {PUBLISHED_VQ: VQAutoencoder, DIFFUSERS_KL: KLAutoencoder}
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
