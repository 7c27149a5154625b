"""The images that refinement.py and hidiff.py measure on: clean ones under camera shake, without defocus."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from torch import Tensor

from rebridge import degradations
from rebridge.data import ImageFolder
from rebridge.data.seeds import generator_of
from rebridge.evaluation.cases import Case, name_of
from rebridge.images import quantise


def add_clean(parser: argparse.ArgumentParser) -> None:
    """Add the option --clean, by default eval/cbsd68 in the folder REBRIDGE_DATA."""
    data = os.environ.get("REBRIDGE_DATA")
    default = None if data is None else Path(data) / "eval" / "cbsd68"
    parser.add_argument("--clean", type=Path, default=default, help="clean images; eval/cbsd68 in REBRIDGE_DATA")


def clean_of(options: argparse.Namespace, parser: argparse.ArgumentParser) -> Path:
    """The folder of clean images; ends the program with a sentence where there is none."""
    if options.clean is None:
        parser.error("name the folder of clean images with --clean, or set REBRIDGE_DATA")
    folder: Path = options.clean
    return folder


def motion_blur(folder: Path, limit: int | None) -> list[Case]:
    """The images of a folder under camera shake, a function of their names, rounded to 8 bits."""
    images = ImageFolder(folder)
    blur = degradations.create("blur", defocus=0.0)

    def case(index: int) -> Case:
        name = name_of(images.files[index], folder)

        def load() -> tuple[Tensor, Tensor]:
            clean = images[index]
            return clean, quantise(blur(clean[None].contiguous(), generator=generator_of(0, "blur", name))[0])

        return Case("blur", name, load)

    return [case(index) for index in range(len(images))][:limit]
