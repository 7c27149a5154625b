"""Restoration of a TIFF picture that is larger than memory, from file to file.

In two passes: the network first sees what it judges the whole by (`Network.seeing`), then the tiles go through it, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rebridge.images.image import to_samples
from rebridge.images.tiff_parts import TiffParts, write_in_rows
from rebridge.inverse.measurement import LEVELS
from rebridge.models import Finding
from rebridge.networks.lazy import LazyImages, mosaic
from rebridge.restoration import engine, large
from rebridge.restoration.choices import Asked
from rebridge.restoration.restorer import Restorer
from rebridge.samplers import Sampler


@dataclass
class Change:
    """The size of a change, gathered part by part.

    Attributes:
        total: sum over the pixels of the mean size of the change over the colours, in units of [0, 1].
        largest: the largest of these sizes.
        visible: pixels that changed by at least one 8-bit level.
        pixels: that were counted.
    """

    total: float = 0.0
    largest: float = 0.0
    visible: int = 0
    pixels: int = 0

    def add(self, before: Tensor, after: Tensor) -> None:
        """Take in a part (1, C, h, w) of the picture before and after."""
        sizes = (after - before).abs().mean(1)
        self.total += sizes.sum(dtype=torch.float64).item()
        self.largest = max(self.largest, sizes.max().item())
        self.visible += int((sizes >= 1 / LEVELS).sum())
        self.pixels += sizes.numel()

    @property
    def figures(self) -> dict[str, float]:
        """Mean and largest change in 8-bit levels, and the share that changed by one."""
        return {
            "mean": round(LEVELS * self.total / self.pixels, 3),
            "largest": round(LEVELS * self.largest, 3),
            "share": round(self.visible / self.pixels, 4),
        }


def images_in_parts(parts: TiffParts) -> LazyImages:
    """Make images (1, C, H, W) in [0, 1] of a file that is read in parts."""
    height, width, channels = parts.shape

    def read(rows: slice, columns: slice) -> Tensor:
        samples = parts.read(rows, columns).astype(np.float32)
        return torch.from_numpy(samples).permute(2, 0, 1)[None].contiguous().div_(2**parts.bits - 1)

    return LazyImages((1, channels, height, width), read)


def streams(restorer: Restorer, walk: Sampler, parts: TiffParts, asked: Asked) -> bool:
    """Test if a restorer can restore a picture in parts."""
    return large.goes_by_tile(restorer, walk, parts.shape[:2], asked)


def findings(restorer: Restorer, parts: TiffParts) -> list[Finding] | None:
    """Tell what ails a picture, by windows from all over it.

    None where the model does not tell.
    """
    return restorer.examine(mosaic(images_in_parts(parts))) if restorer.model.examines else None


def restore_in_parts(
    restorer: Restorer,
    walk: Sampler,
    parts: TiffParts,
    output: Path,
    asked: Asked,
    report: Callable[[float, float], object],
    overwrite: bool = False,
    modified: float | None = None,
) -> Change:
    """Restore a picture that `streams` into a tiled BigTIFF file.

    Args:
        restorer: model and bridge.
        walk: the sampler.
        parts: the picture.
        output: the file, written whole or not at all.
        asked: tiles and strength.
        report: called as report(done, total) in rows.
        overwrite: replace a file that exists.
        modified: time of the last change that the file gets.
    """
    height, width, _ = parts.shape
    images = images_in_parts(parts)
    seen = large.as_condition(restorer.model, images)
    layout = engine.tiled(restorer.model, seen, (height, width), asked.tiles, lambda denoiser: denoiser)
    change = Change()

    def rows() -> Iterator[np.ndarray]:
        for top, restored in large.restored_rows(restorer.model, walk, images, layout, asked.strength):
            for first in range(0, restored.shape[-2], 256):
                part = restored[..., first : first + 256, :]
                place = slice(top + first, top + first + part.shape[-2])
                change.add(images[..., place, slice(0, width)], part)
                yield to_samples(part[0], parts.bits)
            report(top + restored.shape[-2], height)

    write_in_rows(output, rows(), parts.shape, parts.bits, parts.described, overwrite, modified)
    return change
