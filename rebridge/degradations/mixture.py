"""Several degradations of one picture at once, in random order.

Down to hardly visible; with the kinds that were applied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw
from rebridge.degradations.camera import CameraNoise, Dim, Grain, Night
from rebridge.degradations.distance import DepthHaze
from rebridge.degradations.exposure import LowLight
from rebridge.degradations.flakes import ClumpedSnow, DrawnSnow
from rebridge.degradations.optics import Blur
from rebridge.degradations.raindrop import Raindrop
from rebridge.degradations.sensor import GaussianNoise
from rebridge.degradations.softness import Enlarged, Resaved, Softening
from rebridge.degradations.streaks import DrawnRain, SmearedRain, TaperedRain
from rebridge.degradations.weather import Haze, Rain, Snow

LABELS = ("rain", "haze", "snow", "raindrop", "lowlight", "noise", "blur", "jpeg")
"""Kinds of degradation that a mixture may hold, in the order of their labels."""

PHYSICAL = ("haze", "rain", "snow", "raindrop", "lowlight", "blur", "noise", "jpeg")
"""The order in which they happen between the scene and the file."""

RENDERERS: dict[str, tuple[tuple[float, Degradation], ...]] = {
    "rain": ((0.3, Rain()), (0.22, DrawnRain()), (0.2, SmearedRain()), (0.28, TaperedRain())),
    "haze": ((0.4, Haze()), (0.6, DepthHaze())),
    "snow": ((0.5, Snow()), (0.25, DrawnSnow()), (0.25, ClumpedSnow())),
    "raindrop": ((1.0, Raindrop()),),
    "lowlight": ((0.4, LowLight()), (0.35, Night()), (0.25, Dim())),
    "noise": ((0.5, GaussianNoise(sigma=(0.006, 0.21))), (0.25, CameraNoise()), (0.25, Grain())),
    "blur": ((0.62, Blur(noisy=0.35)), (0.26, Softening()), (0.12, Enlarged())),
    "jpeg": ((1.0, Resaved()),),
}
"""Renderers of each kind with their shares."""

VISIBLE: dict[str, tuple[float, float]] = {
    "rain": (36.0, 44.0),
    "haze": (25.0, 34.0),
    "snow": (36.0, 44.0),
    "raindrop": (38.0, 46.0),
    "lowlight": (22.0, 32.0),
    "noise": (40.0, 46.0),
    "blur": (36.0, 46.0),
    "jpeg": (38.0, 44.0),
}
"""PSNR in dB of the change below which a kind is there and above which it is not; between them it is left open."""

OPEN = -1.0
"""Label of a kind that may be called there or not."""

LABEL_SIDE = 16
"""Side in pixels of the places that are labelled."""


class Applied(NamedTuple):
    """One degradation of a mixture, with all that its result depends on."""

    kind: str
    renderer: Degradation
    seed: int
    fade: float
    """Share of the change that is applied, in (0, 1]."""

    def apply(self, image: Tensor) -> Tensor:
        """Degrade (C, H, W) in [0, 1]."""
        degraded = self.renderer.degrade(image, Draw(self.seed)).clamp(0, 1)
        return degraded if self.fade == 1 else image + self.fade * (degraded - image)


class MixedPicture(NamedTuple):
    """A picture degraded by several stages.

    The picture (C, H, W) in [0, 1], the stages in their order, and a label for each kind.
    """

    degraded: Tensor
    stages: list[Applied]
    labels: Tensor
    """(kinds,), 1 for there, 0 for not, `OPEN` for hardly visible."""
    places: Tensor
    """(kinds, ceil(H / 16), ceil(W / 16)): the same for each block of 16 x 16 pixels."""


@dataclass(frozen=True)
class Mixture:
    """Draws none to three kinds of degradation and applies them.

    counts: shares of pictures with none, one, two, ... kinds. weights: share of each kind, by default all the same.
    faded: probability that a stage is weakened by a random factor. ordered: probability of the physical order instead of
    a random one.
    """

    counts: Sequence[float] = (0.25, 0.5, 0.18, 0.07)
    weights: Mapping[str, float] = field(default_factory=dict)
    faded: float = 0.2
    ordered: float = 0.6

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 0 or sum(self.counts) <= 0 or len(self.counts) > len(LABELS) + 1:
            raise ValueError(f"counts must be 1 to {len(LABELS) + 1} shares, not all 0, got {list(self.counts)}")
        unknown = sorted(set(self.weights) - set(LABELS))
        if unknown:
            raise ValueError(f"unknown kind {unknown[0]!r}; known are {', '.join(LABELS)}")

    def __call__(self, image: Tensor, draw: Draw) -> MixedPicture:
        """Degrade one picture (C, H, W) in [0, 1] with the random numbers of `draw`."""
        stages = self.stages(draw)
        height, width = (-(-side // LABEL_SIDE) for side in image.shape[-2:])
        labels, places = torch.zeros(len(LABELS)), torch.zeros(len(LABELS), height, width)
        degraded = image
        for stage in stages:
            before, degraded = degraded, stage.apply(degraded)
            error = (degraded - before).square().mean(0, keepdim=True)
            kind = LABELS.index(stage.kind)
            labels[kind] = label(stage.kind, error.mean())
            places[kind] = label(stage.kind, F.avg_pool2d(error, LABEL_SIDE, ceil_mode=True)[0])
            if isinstance(stage.renderer, Night | LowLight) and not any(s.kind == "noise" for s in stages):
                labels[LABELS.index("noise")] = OPEN
                places[LABELS.index("noise")] = OPEN
        return MixedPicture(degraded, stages, labels, places)

    def stages(self, draw: Draw) -> list[Applied]:
        """Draw the stages of one picture, each of another kind."""
        kinds: list[str] = []
        count = pick(list(self.counts), draw)
        while len(kinds) < count:
            left = [kind for kind in LABELS if kind not in kinds]
            kinds.append(left[pick([self.weights.get(kind, 1.0) for kind in left], draw)])
        if draw.uniform((0, 1)) < self.ordered:
            kinds.sort(key=PHYSICAL.index)
        return [self.stage(kind, draw) for kind in kinds]

    def stage(self, kind: str, draw: Draw) -> Applied:
        """Draw renderer, seed and fade of one kind."""
        shares, renderers = zip(*RENDERERS[kind], strict=True)
        renderer = renderers[pick(list(shares), draw)]
        fade = draw.uniform((0.15, 1.0)) if draw.uniform((0, 1)) < self.faded else 1.0
        return Applied(kind, renderer, draw.integer(0, 2**62), fade)


def render(image: Tensor, stages: Sequence[Applied]) -> Tensor:
    """Apply stages one after the other to (C, H, W) in [0, 1]."""
    for stage in stages:
        image = stage.apply(image)
    return image


def label(kind: str, error: Tensor) -> Tensor:
    """Label a kind by the size of the change that it made.

    Args:
        kind: which one.
        error: mean square change of a picture, or of each of its places, of values in [0, 1]; any shape.

    Returns:
        1 where it is there, 0 where not, or `OPEN`; the same shape.
    """
    there, absent = (10 ** (-psnr / 10) for psnr in VISIBLE[kind])
    return torch.where(error >= there, 1.0, torch.where(error > absent, OPEN, 0.0))


def pick(shares: Sequence[float], draw: Draw) -> int:
    """Draw an index with these shares, which need not sum to 1."""
    place = draw.uniform((0.0, float(sum(shares))))
    for index, share in enumerate(shares):
        place -= share
        if place < 0:
            return index
    return len(shares) - 1
