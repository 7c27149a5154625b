"""Training patches with several degradations at once.

Clean photographs, real pairs, and labels of the kinds in them.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rebridge.data.crops import dihedral
from rebridge.data.folders import image_files, read_stored
from rebridge.degradations.base import Draw
from rebridge.degradations.mixture import LABEL_SIDE, LABELS, OPEN, Mixture, pick, render
from rebridge.degradations.preparation import Preparation

HELD_OUT = 12
"""One in so many pictures of a folder is never trained on."""


class Labelled(NamedTuple):
    """A degraded patch, what is to be made of it, what to treat.

    Which kinds are in it.
    """

    degraded: Tensor
    """(3, H, W) in [0, 1], rounded to 8 bits."""
    target: Tensor
    """(3, H, W) in [0, 1]: clean, but for stages that are not to be treated."""
    treat: Tensor
    """(kinds,) in [0, 1]."""
    labels: Tensor
    """(kinds,): 1 there, 0 not, -1 left open."""
    places: Tensor
    """(kinds, H/16, W/16): the same for each block of 16 x 16 pixels."""


def held_out(path: Path) -> bool:
    """Decide by its name whether a picture is kept out of training.

    Crops of one scene share the decision.
    """
    scene = path.stem.removesuffix("_crop")
    return int(hashlib.sha256(scene.encode()).hexdigest(), 16) % HELD_OUT == 0


class Photographs:
    """Pictures of several folders in memory, drawn with a weight for each folder.

    Those `held_out` are left out.
    """

    def __init__(self, folders: Sequence[tuple[str | Path, float]]) -> None:
        self.weights = [weight for _, weight in folders]
        self.groups = [
            [read_stored(path) for path in image_files(folder) if not held_out(path)] for folder, _ in folders
        ]

    def draw(self, draw: Draw) -> Tensor:
        """Draw one picture, (3, H, W), uint8 or float32 in [0, 1]."""
        group = self.groups[pick(self.weights, draw)]
        return group[draw.integer(0, len(group) - 1)]


class RealPairs:
    """Photographed pairs of one kind, in memory.

    `gt` and `lq` folders with the same names.
    """

    def __init__(self, folder: str | Path, kind: str) -> None:
        root = Path(folder)
        self.kind = LABELS.index(kind)
        files = image_files(root / "lq")
        twins = [next((root / "gt").glob(file.stem + ".*")) for file in files]
        self.pairs = [(read_stored(lq), read_stored(gt)) for lq, gt in zip(files, twins, strict=True)]

    def draw(self, size: int, draw: Draw) -> Labelled:
        """Draw a crop of a pair, (3, size, size), in one of the eight orientations."""
        lq, gt = self.pairs[draw.integer(0, len(self.pairs) - 1)]
        height, width = lq.shape[-2:]
        side = min(size, height, width)
        top, left = draw.integer(0, height - side), draw.integer(0, width - side)
        symmetry = draw.integer(0, 7)

        def cut(image: Tensor) -> Tensor:
            window = dihedral(image[:, top : top + side, left : left + side], symmetry)
            window = window.float() / 255 if window.dtype == torch.uint8 else window
            repeats = -(-size // side)
            return (
                window.repeat(1, repeats, repeats)[:, :size, :size].contiguous() if repeats > 1 else window.contiguous()
            )

        labels = torch.zeros(len(LABELS))
        labels[self.kind] = 1.0
        labels[LABELS.index("noise")] = labels[LABELS.index("noise")] or OPEN
        places = labels[:, None, None].expand(-1, size // LABEL_SIDE, size // LABEL_SIDE)
        return Labelled(cut(lq), cut(gt), (labels > 0).float(), labels, places)


class MixedPatches:
    """Draws labelled patches.

    Photographs degraded by a mixture, and now and then a crop of a real pair.

    partial: probability that, of several kinds, some are left in the target and not treated. wrong: probability that a kind
    that is not there is treated too, alarm: the same for sound pictures: what becomes of those must be harmless.
    """

    def __init__(
        self,
        photographs: Photographs,
        mixture: Mixture,
        preparation: Preparation,
        real: Sequence[tuple[RealPairs, float]] = (),
        partial: float = 0.3,
        wrong: float = 0.12,
        alarm: float = 0.12,
    ) -> None:
        self.photographs, self.mixture, self.preparation = photographs, mixture, preparation
        self.real, self.partial, self.wrong, self.alarm = list(real), partial, wrong, alarm

    def draw(self, size: int, draw: Draw) -> Labelled:
        """Draw one patch of `size` x `size` pixels, a multiple of 16."""
        place = draw.uniform((0, 1))
        for pairs, share in self.real:
            place -= share
            if place < 0:
                return pairs.draw(size, draw)
        clean = dihedral(
            self.preparation.patch(self.photographs.draw(draw), size, draw), draw.integer(0, 7)
        ).contiguous()
        mixed = self.mixture(clean, draw)
        if not mixed.stages:
            sound = (self.preparation.saved(clean, draw) * 255).round() / 255
            return Labelled(
                sound, sound, self._extra(torch.zeros(len(LABELS)), self.alarm, draw), mixed.labels, mixed.places
            )
        left = []
        if len(mixed.stages) > 1 and draw.uniform((0, 1)) < self.partial:
            left = [stage for stage in mixed.stages if draw.uniform((0, 1)) < 0.5]
        treat = (mixed.labels > 0).float()
        unsure = mixed.labels == OPEN
        treat[unsure] = (draw.rand(len(LABELS)) < 0.5).float()[unsure]
        for stage in left:
            treat[LABELS.index(stage.kind)] = 0.0
        degraded = self.preparation.saved(mixed.degraded, draw)
        target = render(clean, left) if left else clean
        return Labelled(
            (degraded * 255).round() / 255, target, self._extra(treat, self.wrong, draw), mixed.labels, mixed.places
        )

    def batch(self, count: int, size: int, seed: int) -> Labelled:
        """Stack `count` patches, a function of the seed alone; fields are (count, ...)."""
        drawn = [self.draw(size, Draw(seed * 1000003 + index)) for index in range(count)]
        return Labelled(*(torch.stack(values) for values in zip(*drawn, strict=True)))

    def _extra(self, treat: Tensor, probability: float, draw: Draw) -> Tensor:
        if draw.uniform((0, 1)) < probability:
            kind = draw.integer(0, len(LABELS) - 1)
            treat[kind] = max(float(treat[kind]), draw.uniform((0.3, 1.0)))
        return treat
