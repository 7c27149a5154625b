"""Command `convert`: a published checkpoint becomes an ordinary model folder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rebridge.commands.options import ConvertOptions
from rebridge.denoisers.precision import dtype_of
from rebridge.images import check_new_folder
from rebridge.models import ModelError, TrainedModel, load_model
from rebridge.models.config import CONFIG_FILE
from rebridge.models.formats.checkpoint import model_of
from rebridge.models.formats.published import convert as convert_files
from rebridge.models.formats.published import fingerprint
from rebridge.models.formats.published.checkpoints import on_hub
from rebridge.models.places import HUB_FILE, find_model


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion.

    Attributes:
        family: whose it is.
        bridge, sampler: names, with steps of the sampler.
        tasks: degradations that it removes.
        parameters: number of weights.
        fingerprint: of the weights, to compare conversions.
        taken: which weights of the file were used.
        licence, weights_licence, source: terms of use and origin.
        sha256: of each file.
        notes: what to know before use.
        folder: where the model is, or None if nothing was written.
        checked: whether the folder was read again and held the same weights.
    """

    family: str
    bridge: str
    sampler: str
    tasks: list[str]
    parameters: int
    fingerprint: str
    taken: str
    licence: str
    weights_licence: str
    source: str
    sha256: dict[str, str]
    notes: list[str]
    folder: Path | None = None
    checked: bool = False

    @property
    def facts(self) -> dict[str, str]:
        """Sum up the conversion, one text by name."""
        return {
            "family": self.family,
            "bridge": self.bridge,
            "sampler": self.sampler,
            "removes": ", ".join(self.tasks) or "not stated",
            "weights": f"{self.parameters:,}, {self.taken}",
            "fingerprint": self.fingerprint + (", the same in the folder" if self.checked else ""),
            "licence": f"code {self.licence}; weights {self.weights_licence}",
            "source": self.source,
        }

    @property
    def record(self) -> dict[str, Any]:
        """All of it in plain data, as JSON takes it."""
        return {**vars(self), "folder": None if self.folder is None else str(self.folder)}

    @property
    def sentences(self) -> list[str]:
        """Say where the model is."""
        return [] if self.folder is None else [f"wrote {self.folder}; use it as --model {self.folder}"]


def convert(options: ConvertOptions) -> Conversion:
    """Convert a checkpoint, and write it as a model folder if one is given.

    Raises:
        ModelError: a file that cannot be read or converted, a folder that holds a model already, or one that was checked and
            holds other weights.
    """
    if options.output is not None and (options.output / CONFIG_FILE).exists() and not options.overwrite:
        raise ModelError(f"{options.output} holds a model already; give another folder or --overwrite")
    if options.output is not None:
        check_new_folder(options.output)
    files = [_found(file, options.task) for file in options.checkpoints]
    dtype = dtype_of(options.dtype)
    converted = convert_files(files, options.family, options.task, dtype)
    sums = {file.name: _sha256(file) for file in files}
    mark = converted.fingerprint()
    if options.output is not None:
        model_of(converted, os.path.basename(os.path.realpath(options.output)), files=sums).save_pretrained(
            options.output
        )
        if options.check and _fingerprint(options.output, dtype) != mark:
            raise ModelError(f"{options.output} holds other weights than {' and '.join(sums)}: convert again")
    return Conversion(
        family=converted.family,
        bridge=converted.bridge.name,
        sampler=f"{converted.sampler.name}, {converted.sampler.steps} steps",
        tasks=list(converted.tasks),
        parameters=converted.parameters,
        fingerprint=mark,
        taken=converted.taken,
        licence=converted.licence,
        weights_licence=converted.weights_licence,
        source=converted.source,
        sha256=sums,
        notes=list(converted.notes),
        folder=options.output,
        checked=options.check and options.output is not None,
    )


def _found(file: Path, task: str | None) -> Path:
    """The file here, or that of the Hub which owner/model/weights.pt or, with published files, owner/model names."""
    here = Path(os.path.expanduser(file))
    named = HUB_FILE.fullmatch(str(file)) or on_hub(str(file), task)
    return find_model(str(file), task=task) if named and not here.exists() else here


def _fingerprint(folder: Path, dtype: torch.dtype) -> str:
    """The fingerprint of a folder's weights in the type in which they lie there."""
    model = load_model(folder, device="cpu")
    assert isinstance(model, TrainedModel)
    parts = [model.network] if model.autoencoder is None else [model.network, model.autoencoder]
    return fingerprint(part.to(dtype) for part in parts)


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
