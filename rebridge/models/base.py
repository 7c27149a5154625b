"""The protocol of models: a process, a space, a description, a denoiser.

A trained bridge, a pixel prior, a pipeline of diffusers, a published checkpoint and a user's own module are all models.
`rebridge.Restorer` needs nothing else: it enters the space, samples along a bridge, and leaves the space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser
from rebridge.networks.conditions import Condition, checked


class ModelError(ValueError):
    """A model that cannot be found, loaded, used or saved.

    The message is one sentence that says what to do.
    """


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The description of a model.

    Attributes:
        name: for messages and cards.
        channels: of the images.
        multiple: sides that the network takes are multiples of this; the space extends images to it where needed.
        window: largest side of an image that is restored in one piece, or None for any.
        context: pixels around a tile that are seen with it, so that it comes out as in the whole image.
        tasks: the degradations that it was trained to remove.
        sampler: the recommended sampler, {"name": ..., **parameters}.
        conditional: whether the network sees the degraded image.
        conditions: what it needs to be told besides, by name: see `rebridge.networks.conditions`.
        earliest_time: the earliest time of the process that the network was trained at.
        presets: a file of settings by task that the model brings along, as `rebridge tune` writes it.
        licence, source: terms of use and origin, where known.
        base_model: hub id of the model that its weights were made from, where there is one.
    """

    name: str = "model"
    channels: int = 3
    multiple: int = 1
    window: int | None = None
    context: int = 0
    tasks: tuple[str, ...] = ()
    sampler: Mapping[str, Any] = field(default_factory=lambda: {"name": "dbim", "steps": 10})
    conditional: bool = True
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    earliest_time: float = 1e-3
    presets: Path | None = None
    licence: str | None = None
    source: str | None = None
    base_model: str | None = None


@dataclass(frozen=True)
class Finding:
    """One kind of degradation that a model looked for in an image.

    Attributes:
        kind: its name, as in `ModelInfo.tasks`.
        probability: that the image has it, in [0, 1].
        treated: share of it that the model would remove, in [0, 1]; 0 where it leaves it alone.
    """

    kind: str
    probability: float
    treated: float


class Space(Protocol):
    """The space of a model's states: pixels, or an autoencoder's latents."""

    @property
    def scale(self) -> int:
        """Image pixels per state cell along each side; 1 for pixels."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) in [0, 1] into states (B, c, h, w).

        The states lie on the model's device.
        """
        ...

    def decode(self, states: Tensor, size: tuple[int, int]) -> Tensor:
        """Turn states back into images (B, C, *size), about in [0, 1]."""
        ...


@dataclass(frozen=True)
class PixelSpace:
    """Pixels in the value range (low, high), float32, on a device."""

    value_range: tuple[float, float]
    device: torch.device
    scale: int = 1

    def encode(self, images: Tensor) -> Tensor:
        """Map [0, 1] to the value range; (B, C, H, W) in channels-last layout."""
        low, high = self.value_range
        return (low + (high - low) * images.to(self.device)).contiguous(memory_format=torch.channels_last)

    pictures = encode
    """Degraded images as the network sees them beside the states."""

    def decode(self, states: Tensor, size: tuple[int, int]) -> Tensor:
        """Map the value range to [0, 1]; states have the images' size already."""
        low, high = self.value_range
        return (states.float() - low).div_(high - low)


class Model:
    """The base of all models.

    Subclasses set `process`, `space` and `info`, and define `given`.
    """

    process: Bridge
    """What the network was trained on: a restoration bridge or a generative process."""
    space: Space
    info: ModelInfo
    device: torch.device = torch.device("cpu")
    network: nn.Module | None = None
    """The module inside the denoiser, for methods that adapt or count it; None where there is none."""
    blind_at_end: bool = False
    """True if an estimate at t = 1 is the degraded image, whatever that is; see `NetworkDenoiser.blind_at_end`."""
    predictor: Denoiser | None = None
    """Where the bridge starts from a prediction g(y) = predictor(y, 1, y) instead of y, that denoiser."""

    def given(self, condition: Tensor | None, **conditions: Tensor) -> Denoiser:
        """Bind the model to degraded images.

        Args:
            condition: degraded images (B, C, H, W) in [0, 1], or None for the unconditional model p(x0).
            conditions: what `info.conditions` declares, by name.

        Returns:
            A denoiser of `process`, called as denoiser(x_t, t, y) with states of `space`.

        Raises:
            ModelError: a condition is needed, unknown, of another shape, or cannot be used.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define given")

    def accepted(self, condition: Tensor | None, conditions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Check conditions against those that are declared.

        They are moved to the model's device.

        Args:
            condition: degraded images, whose number and size they must have.
            conditions: by name.

        Raises:
            ModelError: one that is missing, unknown, or of another shape.
        """
        rows, size = None, None
        if condition is not None:
            rows, size = len(condition), (condition.shape[-2], condition.shape[-1])
        try:
            found = checked(self.info.conditions, conditions, rows, size, f"model '{self.info.name}'")
        except ValueError as error:
            raise ModelError(str(error)) from None
        return {name: value.to(self.device) for name, value in found.items()}

    @property
    def examines(self) -> bool:
        """Whether the model tells what it finds in an image."""
        return False

    def examine(self, images: Tensor) -> list[list[Finding]]:
        """Tell what ails images (B, C, H, W) in [0, 1], each kind with its probability.

        Returns:
            For each image, all kinds that the model looks for.

        Raises:
            ModelError: the model does not tell what it finds.
        """
        raise ModelError(
            f"model '{self.info.name}' restores without telling what it finds; rdbm-small examines pictures"
        )

    def seeing(self, images: Tensor) -> Model:
        """Look at whole images (B, C, H, W) in [0, 1] once.

        Returns:
            The model for these images alone, which neither examines nor restores them by another look; one that judges nothing
            of the whole is returned itself.
        """
        return self

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Model:
        """Load a packaged model, a folder, a file or a hub id.

        Options as in `rebridge.models.load_model`.
        """
        from rebridge.models.loading import load_model

        return load_model(name, **options)

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Write a folder that `from_pretrained` reads.

        A failure leaves no half-written folder.

        Raises:
            ModelError: the model cannot be written so that it could be read again.
        """
        raise ModelError(f"a model of the kind {type(self).__name__} cannot be saved")

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save the model, upload it to the Hugging Face Hub, return the address.

        Options as in `rebridge.models.push_model`.
        """
        import tempfile

        from rebridge.models.places import push_model

        with tempfile.TemporaryDirectory() as place:
            return push_model(self.save_pretrained(Path(place) / repo_id.rpartition("/")[2]), repo_id, **options)

    def to(self, device: str | torch.device) -> Model:
        """Move the model to a device; returns itself."""
        raise ModelError(f"a model of the kind {type(self).__name__} cannot be moved")

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return 0 if self.network is None else sum(weight.numel() for weight in self.network.parameters())

    @property
    def tasks(self) -> list[str]:
        """The degradations that it was trained to remove."""
        return list(self.info.tasks)


class DenoiserModel(Model):
    """A model made of a bare denoiser, such as an exact posterior.

    Args:
        denoiser: called as denoiser(x_t, t, y), states in the process's value range.
        process: what it is a denoiser of.
        device: where it runs.
        predictor: see `Model.predictor`.
        info: fields of `ModelInfo`, such as channels, window or sampler.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        process: Bridge,
        device: str | torch.device = "cpu",
        predictor: Denoiser | None = None,
        **info: Any,
    ) -> None:
        self.denoiser = denoiser
        self.process = process
        self.device = torch.device(device)
        self.predictor = predictor
        self.space = PixelSpace(process.value_range, self.device)
        self.info = ModelInfo(**{"earliest_time": process.earliest_time, **info})

    def given(self, condition: Tensor | None, **conditions: Tensor) -> Denoiser:
        """The denoiser itself; the degraded image reaches it as the y of each call.

        Extra conditions, declared as `info.conditions`, reach it by name.
        """
        told = self.accepted(condition, conditions)
        return partial(self.denoiser, **told) if told else self.denoiser
