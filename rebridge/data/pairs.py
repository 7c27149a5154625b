"""Training pairs: one infinite, seeded stream of patches mixed from many sources.

Pair `i` is a pure function of `(seed, i)`. So a stream can be split over any number of workers and machines, and
continued at any place, without any state.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from rebridge.data.conditions import ConditionFiles
from rebridge.data.crops import centre_crop, crop, dihedral, random_corner, reflect_to
from rebridge.data.folders import ImageFolder, PairedFolder, as_float
from rebridge.data.seeds import generator_of

GOLDEN_RATIO = 0.6180339887498949


class Pair(NamedTuple):
    """A clean and a degraded image, with the name of the degradation.

    Attributes:
        clean: (C, H, W), float32 in [0, 1].
        degraded: the same.
        task: the degradation.
        conditions: extra ones by name, see `rebridge.networks.conditions`; maps (C, H, W).
    """

    clean: Tensor
    degraded: Tensor
    task: str
    conditions: Mapping[str, Tensor] = {}


class PairSource(Protocol):
    """A source of pairs of patches."""

    task: str

    def draw(self, patch: int, generator: torch.Generator) -> Pair:
        """Draw one pair of patch x patch pixels, by the generator's state alone."""
        ...

    def centre(self, index: int, size: int, generator: torch.Generator) -> Pair:
        """Cut the middle of a pair, at most size x size pixels, for validation."""
        ...

    def __len__(self) -> int: ...


class PairedSource:
    """Random crops, at the same place, of the images of a `PairedFolder`.

    Args:
        folder: the pairs.
        task: the degradation.
        max_bytes: how much of the decoded images to keep in memory.
        conditions: extra conditions of the pairs.
    """

    def __init__(
        self, folder: PairedFolder, task: str, max_bytes: float = 0.0, conditions: ConditionFiles | None = None
    ) -> None:
        self.folder, self.task = folder, task
        self.conditions = conditions or ConditionFiles({}, {}, [])
        channels = folder.channels
        self.clean = ImageFolder(".", files=[clean for clean, _ in folder.pairs], channels=channels).load(max_bytes / 2)
        self.degraded = ImageFolder(".", files=[degraded for _, degraded in folder.pairs], channels=channels).load(
            max_bytes / 2
        )

    def __len__(self) -> int:
        return len(self.folder)

    def pair(self, index: int) -> tuple[Tensor, Tensor]:
        """Clean and degraded image number `index`, as they are kept; see `as_float`."""
        return self.folder.fit(index, self.clean.stored(index), self.degraded.stored(index))

    def draw(self, patch: int, generator: torch.Generator) -> Pair:
        """Draw a crop of a random pair, in one of the eight orientations."""
        index = int(torch.randint(len(self), (), generator=generator))
        sides = self.pair(index)
        size = sides[1].shape[-2], sides[1].shape[-1]
        corner = random_corner(reflect_to(sides[0], patch, patch), patch, generator)
        symmetry = int(torch.randint(8, (), generator=generator))

        def cut(side: Tensor) -> Tensor:
            return dihedral(as_float(crop(reflect_to(side, patch, patch), *corner, patch)), symmetry).contiguous()

        told = self.conditions.read(index, size, cut, lambda kernel: dihedral(kernel, symmetry))
        return Pair(cut(sides[0]), cut(sides[1]), self.task, told)

    def centre(self, index: int, size: int, generator: torch.Generator) -> Pair:
        """Cut the middle of a pair, at most size x size pixels; nothing is random."""
        whole = self.folder.read(index)
        clean, degraded = (centre_crop(side, size) for side in whole)
        told = self.conditions.read(
            index, (whole[1].shape[-2], whole[1].shape[-1]), lambda side: centre_crop(side, size), lambda kernel: kernel
        )
        return Pair(clean, degraded, self.task, told)


class MixedPairs(Dataset[Pair]):
    """An endless stream of pairs in which each source has its share.

    Tasks follow a golden-ratio sequence instead of independent draws: any window of the stream holds each source in
    nearly exact proportion to its weight, so batches differ less from one another.

    Args:
        sources: of the pairs.
        weights: one per source, at least 0, not all 0.
        patch: side of a pair in pixels.
        seed: of the stream.
        patches: other sides from pair number n on, (n, side), in the order of n.

    Raises:
        ValueError: weights that do not fit, or a patch below 1.
    """

    def __init__(
        self,
        sources: Sequence[PairSource],
        weights: Sequence[float],
        patch: int,
        seed: int = 0,
        patches: Sequence[tuple[int, int]] = (),
    ) -> None:
        if len(sources) != len(weights) or not sources:
            raise ValueError(f"each source needs one weight, got {len(sources)} sources and {len(weights)} weights")
        if min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(f"weights must be at least 0 and not all 0, got {list(weights)}")
        sizes = [patch, *(side for _, side in patches)]
        if min(sizes) < 1:
            raise ValueError(f"patch must be at least 1, got {min(sizes)}")
        self.sources, self.seed = list(sources), seed
        self.patches = [(0, patch), *patches]
        self.shares = [share / sum(weights) for share in accumulate(weights)]
        self.offset = float(torch.rand((), generator=generator_of(seed, "tasks"), dtype=torch.float64))

    def source_of(self, index: int) -> PairSource:
        """Choose the source that pair number `index` comes from."""
        place = (self.offset + index * GOLDEN_RATIO) % 1.0
        return next((s for s, share in zip(self.sources, self.shares, strict=True) if place < share), self.sources[-1])

    def patch_of(self, index: int) -> int:
        """Give the side of pair number `index`."""
        return next(side for first, side in reversed(self.patches) if first <= index)

    def __getitem__(self, index: int) -> Pair:
        """Draw pair number `index` (from 0): a pure function of the seed and the index."""
        if index < 0:
            raise IndexError(f"a stream of pairs begins at 0, got index {index}")
        return self.source_of(index).draw(self.patch_of(index), generator_of(self.seed, "pair", index))
