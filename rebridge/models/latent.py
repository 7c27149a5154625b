"""Published models that sample in an autoencoder's latents: BBDM, ResShift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from rebridge.denoisers import Autocast, Denoiser, NetworkDenoiser
from rebridge.denoisers.precision import dtype_of
from rebridge.models.base import Model, ModelError, ModelInfo
from rebridge.models.formats.published.base import Autoencoder, Converted
from rebridge.models.formats.published.resshift import ResShiftDialect
from rebridge.networks.layers import pad_to_multiple


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
        padded = pad_to_multiple(images.to(self.device), self.scale * self.multiple)
        with torch.no_grad():
            return self.autoencoder.encode(2 * padded - 1)

    def decode(self, states: Tensor, size: tuple[int, int]) -> Tensor:
        """Turn latents back into images (B, C, *size)."""
        with torch.no_grad():
            return (self.autoencoder.decode(states.float(), size) + 1) / 2


class LatentModel(Model):
    """A converted latent model.

    Args:
        converted: with its autoencoder.
        name: for messages.
        device: where the networks go.
        dtype: float32, or bfloat16 or float16 to run the network in autocast.

    Raises:
        ModelError: the autoencoder is missing.
    """

    def __init__(
        self,
        converted: Converted,
        name: str = "model",
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        if converted.autoencoder is None:
            raise ModelError(
                f"'{name}' samples in the space of an autoencoder that is not in the file: convert both together"
            )
        self.device = torch.device(device)
        self.converted = converted
        self.network = converted.network.to(self.device)
        self.process = converted.bridge
        self.denoiser: NetworkDenoiser = converted.denoiser()
        self.precision = dtype_of(dtype)
        autoencoder = converted.autoencoder.to(self.device)
        self.space = AutoencoderSpace(autoencoder, converted.network.multiple, self.device)
        sampler: Mapping[str, Any] = {"name": converted.sampler.name, **converted.sampler.params}
        self.info = ModelInfo(
            name=name,
            multiple=autoencoder.factor * converted.network.multiple,
            tasks=converted.tasks,
            sampler=sampler,
            earliest_time=self.process.earliest_time,
            licence=f"code: {converted.licence}; weights: {converted.weights_licence}",
            source=converted.source,
        )

    def given(self, condition: Tensor | None) -> Denoiser:
        """Bind the network to degraded images (B, C, H, W) in [0, 1].

        ResShift sees the picture itself, at the size that its network takes; the latent of each call is the y.
        """
        if condition is None:
            raise ModelError(f"model '{self.info.name}' was not trained without a degraded image")
        run: Denoiser = self.denoiser
        if isinstance(self.network, ResShiftDialect):
            run = self._with_picture(condition, self.network)
        if self.precision != torch.float32:
            run = Autocast(run, self.device.type, self.precision)
        return run

    def _with_picture(self, condition: Tensor, network: ResShiftDialect) -> Denoiser:
        picture = 2 * pad_to_multiple(condition.to(self.device), self.info.multiple) - 1
        side = network.factor / self.space.scale
        if side != 1:
            picture = interpolate(picture, scale_factor=side, mode="bicubic", antialias=True).clamp(-1, 1)
        return network.given(picture)

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Refuse: latent models are opened from the authors' files each time."""
        raise ModelError(
            f"'{self.info.name}' is a latent model, which no folder holds yet: open the authors' file itself, as --model FILE"
        )

    @property
    def parameters(self) -> int:
        """Number of weights, those of the autoencoder included."""
        return self.converted.parameters
