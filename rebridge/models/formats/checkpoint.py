"""Published checkpoints: the authors' own files, opened as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from rebridge.models.base import Model, ModelError
from rebridge.models.formats.base import Format

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
            options: family, task and autoencoder (a second file) of `rebridge.models.formats.published.convert`; dtype and
                compile as those of a model folder.
        """
        from rebridge.models.formats.published import FormatError, convert

        files = [path, *_beside(path)]
        if "autoencoder" in options:
            files.append(Path(options.pop("autoencoder")).expanduser())
        asked = {key: options.pop(key) for key in ("family", "task") if key in options}
        try:
            converted = convert(files, **asked)
        except (FormatError, ValueError) as error:
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
    from rebridge.models.latent import LatentModel
    from rebridge.models.trained import TrainedModel

    if converted.family == "vq":
        raise ModelError(f"'{name}' is an autoencoder, a part of latent models; alone it restores nothing")
    if converted.network.latent:
        options.pop("compile", None)
        return LatentModel(converted, name, device, **options)
    return TrainedModel(
        converted.denoiser().to(device),
        name=name,
        sampler={"name": converted.sampler.name, **converted.sampler.params},
        tasks=converted.tasks,
        training=converted.config["published"] | {"files": dict(files or {})},
        condition=converted.network.conditional,
        licence=f"code: {converted.licence}; weights: {converted.weights_licence}",
        source=converted.source,
        **options,
    )


def _beside(path: Path) -> list[Path]:
    """Other parts of HI-Diff in the same folder."""
    parts = ("net_g.pth", "net_le_dm.pth", "net_d.pth")
    if path.name not in parts:
        return []
    return [path.with_name(part) for part in parts if part != path.name and path.with_name(part).is_file()]
