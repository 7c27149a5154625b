"""Synthetic pairs: clean images and degradations drawn on the fly."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rebridge import degradations
from rebridge.data.conditions import ConditionFiles
from rebridge.data.crops import centre_crop, crop, dihedral, random_corner, reflect_to
from rebridge.data.folders import ImageFolder, as_float
from rebridge.data.pairs import MixedPairs, Pair
from rebridge.degradations.base import as_range
from rebridge.images import quantise

CLEAN = "clean"
"""The task of leaving an intact image alone."""


class SyntheticSource:
    """Patches of clean images, degraded after cropping.

    So a pair costs the patch and not the image.

    Args:
        images: the clean images.
        task: a name of `rebridge.degradations`, or "clean" for no degradation at all.
        params: the degradation's parameters.
        margin: pixels around the patch that are degraded with it and then cut off, so that what a degradation does at the
            border of an image is rarely seen.
        quantise: round the degraded patch to 8 bits, as the files of users are.
        conditions: extra conditions of the clean images.
        told: numbers that are conditions themselves: names of the degradation's parameters, each drawn evenly from its range.

    Raises:
        ValueError: an unknown task or parameter, or a negative margin.
    """

    def __init__(
        self,
        images: ImageFolder,
        task: str,
        params: Mapping[str, Any] | None = None,
        margin: int = 0,
        quantise: bool = True,
        conditions: ConditionFiles | None = None,
        told: Sequence[str] = (),
    ) -> None:
        if margin < 0:
            raise ValueError(f"margin must be at least 0, got {margin}")
        self.images, self.task, self.margin, self.quantise = images, task, margin, quantise
        self.conditions = conditions or ConditionFiles({}, {}, [])
        self.degrade = _degradation(task, dict(params or {}))
        self.told = tuple(told)
        with_drawn(self.degrade, self.told, torch.Generator())  # a parameter that is no range is said here
        if self.degrade is not None and images.channels not in (1, 3) and not self.degrade.any_channels:
            raise ValueError(
                f"the task {task!r} is of grey or coloured images, and these have {images.channels} channels"
            )

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, patch: int, generator: torch.Generator) -> Pair:
        """Draw a crop of a random image in one of eight orientations, and degrade it."""
        index = int(torch.randint(len(self.images), (), generator=generator))
        around = patch + 2 * self.margin
        image = self.images.stored(index)
        corner = random_corner(reflect_to(image, around, around), around, generator)
        symmetry = int(torch.randint(8, (), generator=generator))

        def cut(side: Tensor) -> Tensor:
            return dihedral(as_float(crop(reflect_to(side, around, around), *corner, around)), symmetry)

        inner = (self.margin, self.margin, patch)
        told = self.conditions.read(
            index,
            self._size(index),
            lambda side: crop(cut(side), *inner).contiguous(),
            lambda kernel: dihedral(kernel, symmetry),
        )
        clean = cut(image)
        degraded, drawn = self._degraded(clean, generator)
        return Pair(crop(clean, *inner).contiguous(), crop(degraded, *inner).contiguous(), self.task, told | drawn)

    def centre(self, index: int, size: int, generator: torch.Generator) -> Pair:
        """Cut the middle of an image, at most size x size pixels, and degrade it."""
        clean = centre_crop(self.images[index], size)
        degraded, drawn = self._degraded(clean, generator)
        told = self.conditions.read(
            index, self._size(index), lambda side: centre_crop(side, size), lambda kernel: kernel
        )
        return Pair(clean, degraded, self.task, told | drawn)

    def _size(self, index: int) -> tuple[int, int]:
        """Height and width of an image."""
        if not self.conditions.declared:
            return (0, 0)  # nobody asks
        height, width = self.images.stored(index).shape[-2:]
        return height, width

    def _degraded(self, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The degraded image, and the parameters that were drawn for it."""
        if self.degrade is None:
            return clean, {}
        degrade, drawn = with_drawn(self.degrade, self.told, generator)
        degraded = degrade(clean[None].contiguous(), generator=generator)[0]
        told = {name: torch.tensor(value) for name, value in drawn.items()}
        return (quantise(degraded) if self.quantise else degraded), told


def with_drawn(degradation: Any, names: Iterable[str], generator: torch.Generator) -> tuple[Any, dict[str, float]]:
    """Draw parameters of a degradation, so that they are known.

    Args:
        degradation: with a number or a range for each.
        names: of the parameters.
        generator: of the draws.

    Returns:
        The degradation with the numbers that were drawn, each evenly from its range, and those numbers.

    Raises:
        ValueError: a parameter that is no number or range of numbers.
    """
    drawn = {}
    for name in names:
        low, high = as_range(name, getattr(degradation, name))
        drawn[name] = low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))
    return (replace(degradation, **drawn) if drawn else degradation), drawn


def _degradation(task: str, params: dict[str, Any]) -> Any:
    if task == CLEAN:
        if params:
            raise ValueError(f"the task {CLEAN!r} has no parameters, got {', '.join(params)}")
        return None
    if task not in degradations.names():
        raise ValueError(f"unknown task {task!r}; known are {', '.join([*degradations.names(), CLEAN])}")
    degradation = degradations.create(task, **params)
    if degradation.resizes:
        degradation = degradations.create(task, **{"upsample": True} | params)
    return degradation


class SyntheticPairs(MixedPairs):
    """An endless stream of synthetic pairs of several tasks.

    Pair `i` is a pure function of `(seed, i)`.

    Args:
        images: the clean images.
        tasks: weight of each task, `{"rain": 1.0, "noise": 2.0, "clean": 0.2}`.
        patch: side of a pair in pixels.
        seed: of the stream.
        margin: as of `SyntheticSource`.
        quantise: as of `SyntheticSource`.
    """

    def __init__(
        self,
        images: ImageFolder,
        tasks: Mapping[str, float],
        patch: int = 128,
        seed: int = 0,
        margin: int = 0,
        quantise: bool = True,
    ) -> None:
        sources = [SyntheticSource(images, task, margin=margin, quantise=quantise) for task in tasks]
        super().__init__(sources, list(tasks.values()), patch, seed)
