"""Published checkpoints: the authors' own files, opened as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from rebridge.models.base import Model, ModelError
from rebridge.models.formats.base import Format
from rebridge.networks.spandrel import SPANDREL

if TYPE_CHECKING:
    from rebridge.models.formats.published import Converted

_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")


class PublishedCheckpoint(Format):
    """A file of weights that its authors wrote."""

    options: ClassVar[tuple[str, ...]] = ("dtype", "compile", "family", "task", "autoencoder")
    what: ClassVar[str] = "a published checkpoint"

    def detect(self, path: Path) -> bool:
        """Return True for a file whose name ends as weights do."""
        return path.is_file() and path.suffix.lower() in _SUFFIXES

    def read(self, path: Path, name: str, device: torch.device, **options: Any) -> Model:
        """Convert the file.

        Args:
            path: the file; HI-Diff's other two are found beside it.
            name: for messages.
            device: where the networks go.
            options: family ("spandrel" for a restorer of that package), task and autoencoder (a second file) of
                `rebridge.models.formats.published.convert`; dtype and compile as those of a model folder.
        """
        from rebridge.models.formats.published import convert
        from rebridge.models.formats.published.errors import UnknownFamilyError

        files = [path, *_beside(path)]
        if "autoencoder" in options:
            files.append(Path(os.path.expanduser(options.pop("autoencoder"))))
        asked = {key: options.pop(key) for key in ("family", "task") if key in options}
        try:
            if asked.get("family") == SPANDREL:
                return restorer_of(path, name, device, **options)
            converted = convert(files, **asked)
        except UnknownFamilyError as error:
            return _otherwise(error, path, name, device, **options)
        except ValueError as error:
            raise ModelError(str(error)) from None
        return model_of(converted, name, device, **options)


def model_of(
    converted: Converted,
    name: str,
    device: str | torch.device = "cpu",
    files: Mapping[str, str] | None = None,
    **options: Any,
) -> Model:
    """Make a model of what `rebridge.models.formats.published.convert` returns.

    Args:
        converted: the converted checkpoint.
        name: for messages and the card.
        device: where the networks go.
        files: checksums of the authors' files by name, for the model folder.
        options: dtype and compile of `rebridge.models.TrainedModel`.

    Raises:
        ModelError: an autoencoder alone, or a latent model without one.
    """
    from rebridge.models.trained import TrainedModel

    if converted.family == "vq":
        raise ModelError(f"'{name}' is an autoencoder, a part of latent models; alone it restores nothing")
    if converted.network.latent and converted.autoencoder is None:
        raise ModelError(
            f"'{name}' samples in the space of an autoencoder that is not in the file: convert both together"
        )
    return TrainedModel(
        converted.denoiser().to(device),
        name=name,
        sampler={"name": converted.sampler.name, **converted.sampler.params},
        tasks=converted.tasks,
        training=converted.config["published"] | {"files": dict(files or {})},
        condition=converted.network.conditional,
        licence=f"code: {converted.licence}; weights: {converted.weights_licence}",
        source=converted.source,
        autoencoder=None if converted.autoencoder is None else converted.autoencoder.to(device),
        **options,
    )


def restorer_of(path: Path, name: str, device: str | torch.device = "cpu", **options: Any) -> Model:
    """Make a model of one step of a restorer that spandrel knows.

    Args:
        path: the file of its weights.
        name: for messages.
        device: where it goes.
        options: dtype and compile of `rebridge.models.TrainedModel`.

    Raises:
        ValueError: spandrel is missing, or does not know the file.
    """
    from rebridge import bridges
    from rebridge.models.trained import TrainedModel
    from rebridge.networks.spandrel import SpandrelRestorer

    bridge = bridges.create("flow")
    network = SpandrelRestorer(str(path), bridge.value_range).to(device)
    return TrainedModel.of(network, bridge, "residual", name=name, sampler={"name": "dbim", "steps": 1}, **options)


def _otherwise(error: ValueError, path: Path, name: str, device: torch.device, **options: Any) -> Model:
    """What spandrel makes of a file of no published family; the first error where that is nothing."""
    try:
        return restorer_of(path, name, device, **options)
    except ValueError:
        raise ModelError(str(error)) from None


def _beside(path: Path) -> list[Path]:
    """Other parts of HI-Diff in the same folder."""
    parts = ("net_g.pth", "net_le_dm.pth", "net_d.pth")
    if path.name not in parts:
        return []
    return [path.with_name(part) for part in parts if part != path.name and path.with_name(part).is_file()]
