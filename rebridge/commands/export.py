"""Command `export`: a model for other runtimes, onnxruntime or torch.export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from rebridge import degradations
from rebridge.commands.options import ExportOptions
from rebridge.data import CLEAN
from rebridge.images import READABLE_SUFFIXES, check_new_folder, read_image
from rebridge.models import Model, ModelError, load_model
from rebridge.restoration.files import find_files

SAMPLES = Path(__file__).parent.parent / "app" / "static" / "examples"
"""Photographs that come along; shrunk they are clean enough to measure on."""
SAMPLE_SIDE = 96
"""Of a picture that an export is tried on."""
MOST_PICTURES = 6


@dataclass(frozen=True)
class Export:
    """An export, and what is known of it.

    Attributes:
        model: name.
        format: "onnx" or "torch".
        folder: where the files are.
        files: their names.
        difference: largest difference from `rebridge restore` on pictures, in [0, 1]; None where it was not tried.
        int8: what became of the quantised network, a sentence.
        steps: numbers of steps that the runner offers.
    """

    model: str
    format: str
    folder: str
    files: list[str]
    difference: float | None = None
    int8: str | None = None
    steps: tuple[int, ...] = ()

    @property
    def record(self) -> dict[str, Any]:
        """All of it in plain data."""
        return vars(self)

    @property
    def sentences(self) -> list[str]:
        """Say what was written and how it is used."""
        found = [] if self.int8 is None else [f"int8: {self.int8}"]
        if self.difference is not None:
            found.append(f"restores as rebridge does, to {255 * self.difference:.4f} of 255 levels")
        use = "torch.export.load(...).module()(x, t, y)"
        if self.format == "onnx":
            use = f"python {self.folder}/run.py photo.png -o out.png (numpy, onnxruntime and Pillow alone)"
        return [*found, f"wrote {', '.join(self.files)} in {self.folder}; use: {use}"]


def export(options: ExportOptions) -> Export:
    """Write a model for another runtime.

    Raises:
        ModelError: a model that cannot be loaded or exported, a missing package, or an export that is there already.
        ValueError: an impossible sampler, or no pictures.
    """
    from rebridge.integrations.onnx import TORCH_FILE, export_onnx, export_torch
    from rebridge.integrations.onnx_runner import SAMPLING_FILE

    written = options.output / (SAMPLING_FILE if options.format == "onnx" else TORCH_FILE)
    if written.exists() and not options.overwrite:
        raise ModelError(f"{options.output} holds an export already; give another folder or --overwrite")
    if options.output.exists() and not options.output.is_dir():
        raise ModelError(f"{options.output} is a file; give a folder")
    check_new_folder(options.output)
    model = load_model(options.model, device="cpu")
    name, folder = model.info.name, str(options.output)
    if options.format == "torch":
        return Export(name, "torch", folder, list(export_torch(model, options.output).files))
    pictures = list(_pictures(model, options.clean))
    found = export_onnx(
        model, options.output, pictures, sampler=options.sampler, steps=options.steps, int8=options.int8
    )
    return Export(name, "onnx", folder, list(found.files), found.difference, found.int8.note, found.steps)


def _pictures(model: Model, folder: Path | None) -> Iterator[tuple[Any, Any]]:
    """Pairs (clean, degraded) of uint8 (H, W, C), degraded as the model's tasks say."""
    if folder is not None and not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    tasks = [task for task in model.tasks if task in degradations.names()] or ["noise", CLEAN]
    chosen = product(find_files([folder or SAMPLES], readable=READABLE_SUFFIXES), tasks)
    spread = sorted(enumerate(chosen), key=lambda item: (item[0] * 7) % 5)
    for number, (path, task) in spread[:MOST_PICTURES]:
        pixels = read_image(path).pixels[: model.info.channels].expand(model.info.channels, -1, -1)
        factor = 1 if folder else 2
        clean = _middle(interpolate(pixels[None], scale_factor=1 / factor, mode="area"))
        draw = torch.Generator().manual_seed(number)
        degraded = clean if task == CLEAN else degradations.create(task)(clean, generator=draw)
        if degraded.shape != clean.shape:
            degraded = interpolate(degraded, clean.shape[-2:], mode="bicubic")
        yield _bytes(clean), _bytes(degraded)


def _middle(images: Tensor) -> Tensor:
    top, left = (max(side - SAMPLE_SIDE, 0) // 2 for side in images.shape[-2:])
    return images[..., top : top + SAMPLE_SIDE, left : left + SAMPLE_SIDE]


def _bytes(images: Tensor) -> Any:
    return np.rint(images[0].clamp(0, 1).mul(255).permute(1, 2, 0).numpy()).astype(np.uint8)
