"""What benchmarks/refinement.py and benchmarks/hidiff.py measure on: clean images under camera shake, without defocus."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from rebridge import degradations
from rebridge.data import ImageFolder
from rebridge.data.seeds import generator_of
from rebridge.evaluation.cases import Case, name_of
from rebridge.evaluation.metrics import quantise


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
