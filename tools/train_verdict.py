"""Fits the verdict of a `careful` network to what is gathered about many degraded pictures; nothing else of it changes.

    REBRIDGE_DATA=data python tools/train_verdict.py runs/small-9/last.pt --minutes 30 --output runs/small-10/last.pt

First pictures of the training mixture are drawn for a fixed time of the processor and all about them is kept; then the layers
are fitted, once with every seed, and their averages over the second half kept. Prints how well pictures of photographs that
were kept out of training are told apart.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import torch
import torch.nn.functional as F  # noqa: N812
from backdrops import before_backdrop
from torch import Tensor, nn
from train_careful import DATA, FOLDERS, DepthPairs, RainLayers, in_range, label_loss, network_of, patches

from rebridge.data.folders import image_files, read_stored
from rebridge.data.mixtures import Photographs, held_out
from rebridge.degradations.base import Draw
from rebridge.degradations.distance import DepthHaze
from rebridge.degradations.mixture import LABELS, RENDERERS, Mixture
from rebridge.degradations.preparation import Preparation
from rebridge.degradations.weather import Haze
from rebridge.networks.careful import Careful
from rebridge.networks.kinds import HAZE, LOWLIGHT
from rebridge.networks.statistics import air_map
from rebridge.networks.verdict import MapVoice, Verdict, gathered

SIZES = ((160, 8), (224, 6), (288, 4))
"""Sides of the patches and how many of each make a batch."""

VOICES = {"maps": HAZE, "lights": LOWLIGHT}
"""Voices that see the map of the air, and the kind that they tell by it."""

HAZES = ((0.25, Haze(beta=(0.2, 1.2))), (0.75, DepthHaze(beta=(0.15, 2.5))))
"""Renderers of the haze that it is told by, and their shares."""

UPRIGHT_SIZES = (192, 256, 320, 384)
"""Sides of the upright patches that haze and darkness are told by."""


class HeldOut(Photographs):
    """The pictures that are kept out of training."""

    def __init__(self) -> None:
        files = {name: [path for path in image_files(DATA / "train" / name) if held_out(path)] for name in FOLDERS}
        self.groups = [[read_stored(path) for path in files[name]] for name in files if files[name]]
        self.weights = [FOLDERS[name] for name in files if files[name]]


def graded(seed: int, side: int = 192) -> Tensor:
    """Draw an even or graded picture (3, side, side) in [-1, 1], of any colours: sound, however pale."""
    draw = Draw(seed)
    low, high = draw.rand(3, 1, 1), draw.rand(3, 1, 1)
    across, down = (torch.linspace(0, 1, side)[None], torch.linspace(0, 1, side)[:, None])
    turn = draw.uniform((0, math.pi))
    ramp = (across * math.cos(turn) + down * math.sin(turn)) * draw.integer(0, 2) / 2
    return 2 * ((low + (high - low) * ramp).clamp(0, 1) * 255).round() / 255 - 1


@torch.no_grad()
def gather(model: Careful, photographs: Photographs, minutes: float, seed: int) -> tuple[Tensor, Tensor]:
    """Draw pictures for so many minutes: all about them but maps (N, known), and the labels (N, kinds)."""
    streams = [patches(photographs, 0.4, 1.2), patches(photographs, 0.3, 1.0)]
    known, labels, index, begin = [], [], 0, time.process_time()
    while time.process_time() - begin < 60 * minutes:
        size, count = SIZES[index % len(SIZES)]
        batch = in_range(streams[index % 2].batch(count, size, seed * 1_000_000 + index))
        seen = model.look(batch.degraded)
        known.append(gathered(seen, model.examiner.logits(seen)))
        labels.append(batch.labels)
        if index % 12 == 0:
            seen = model.look(torch.stack([graded(seed * 1_000_000 + 12 * index + place) for place in range(12)]))
            known.append(gathered(seen, model.examiner.logits(seen)))
            labels.append(torch.zeros(12, len(LABELS)))
        index += 1
    return torch.cat(known), torch.cat(labels)


class Airs(NamedTuple):
    """What haze is told by, of many pictures."""

    maps: Tensor
    """(N, MAP_NUMBERS, MAP_SIDE, MAP_SIDE): of the air."""
    labels: Tensor
    """(N, kinds)"""


@torch.no_grad()
def gather_air(photographs: Photographs, minutes: float, seed: int, kind: int = HAZE, muted: float = 0.0) -> Airs:
    """Draw larger pictures, most upright, half of them hazy or dark, and a third of things before an even backdrop.

    muted: share of those that have few colours.
    """
    usual, RENDERERS["haze"] = RENDERERS["haze"], HAZES
    often = dict.fromkeys(LABELS, 0.5) | {LABELS[kind]: 3.5}
    mostly = Mixture(counts=(0.42, 0.4, 0.13, 0.05), weights=often, faded=0.15)
    several = Mixture(counts=(0, 0.4, 0.35, 0.25), faded=0.15)
    pairs = DepthPairs(DATA / "train/rgbd/middlebury")
    preparation = Preparation(tone=0.15 if kind == HAZE else 0.5, muted=muted)
    maps, labels, index, begin = [], [], 0, time.process_time()
    while time.process_time() - begin < 60 * minutes:
        draw = Draw(seed * 10_000_000 + index)
        chance = draw.uniform((0, 1))
        label = torch.zeros(len(LABELS))
        if chance < 0.04:
            pair = pairs.draw(256, draw)
            label[HAZE] = float(draw.uniform((0, 1)) < 0.5)
            image = pair.degraded if label[HAZE] else pair.target
        elif chance < 0.08:
            image = (graded(seed * 10_000_000 + index) + 1) / 2
        else:
            size = UPRIGHT_SIZES[draw.integer(0, len(UPRIGHT_SIZES) - 1)]
            image = preparation.patch(photographs.draw(draw), size, draw)
            image = image.flip(-1) if draw.uniform((0, 1)) < 0.5 else image
            image = image.transpose(-1, -2) if draw.uniform((0, 1)) < 0.1 else image
            image = before_backdrop(image, draw) if draw.uniform((0, 1)) < 0.3 else image
            mixed = (mostly if draw.uniform((0, 1)) < 0.85 else several)(image.contiguous(), draw)
            image, label = preparation.saved(mixed.degraded, draw), mixed.labels
        y = (2 * (image * 255).round() / 255 - 1)[None]
        maps.append(air_map(y).half())
        labels.append(label)
        index += 1
    RENDERERS["haze"] = usual
    return Airs(torch.cat(maps), torch.stack(labels))


def joined(airs: list[Airs]) -> Airs:
    """Join what was drawn in several runs."""
    return Airs(*map(torch.cat, zip(*airs, strict=True)))


def fit_layers(module: nn.Module, loss: Callable[[], Tensor], steps: int, rate: float = 1.5e-3) -> None:
    """Fit layers to what `loss` draws; what they keep is their mean over the second half of the steps."""
    module.train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=3e-2)
    average = {key: value.clone() for key, value in module.state_dict().items()}
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        lost = loss()
        optimiser.zero_grad(set_to_none=True)
        lost.backward()
        optimiser.step()
        begun = step - steps // 2
        if begun >= 0:
            for key, value in module.state_dict().items():
                average[key].lerp_(value, 1 / (begun + 1))
    module.load_state_dict(average)
    module.eval()


def fit(verdict: Verdict, known: Tensor, labels: Tensor, epochs: int, seed: int) -> None:
    """Fit all layers of a verdict."""
    torch.manual_seed(seed)

    def loss() -> Tensor:
        rows = torch.randint(len(known), (256,))
        blurred = known[rows] + 0.1 * verdict.scale * torch.randn(256, known.shape[1])
        return label_loss(verdict(blurred), labels[rows])

    fit_layers(verdict, loss, epochs * len(known) // 256)


def fit_voices(
    voices: nn.ModuleList,
    maps: Tensor,
    there: Tensor,
    steps: int,
    seed: int,
    heard: Tensor | None = None,
    before: Tensor | None = None,
) -> None:
    """Fit voices that see maps, each apart.

    Args:
        voices: `MapVoice`s.
        maps: (N, maps, MAP_SIDE, MAP_SIDE).
        there: whether what they tell is there, (N,); below 0 where that is open.
        steps: of each.
        seed: of all.
        heard: (N, numbers), what they hear besides.
        before: logits (N,) that theirs are added to, by default 0.
    """
    torch.manual_seed(seed)
    sure = there >= 0
    before = (torch.zeros_like(there) if before is None else before)[sure]
    heard = torch.zeros(len(there), 0)[sure] if heard is None else heard[sure]
    maps, there = maps[sure].float().contiguous(memory_format=torch.channels_last), there[sure]
    for voice in voices:
        assert isinstance(voice, MapVoice)
        voice.mean.copy_(maps.mean((0, 2, 3))[:, None, None])
        voice.scale.copy_(maps.std((0, 2, 3))[:, None, None])

        def loss(voice: MapVoice = voice) -> Tensor:
            rows = torch.randint(len(maps), (256,))
            seen = maps[rows] if float(torch.rand(())) < 0.5 else maps[rows].flip(-1)
            seen = seen + 0.15 * voice.scale * torch.randn_like(seen)
            told = voice(seen, heard[rows] + 0.1 * torch.randn(256, heard.shape[1]))
            return F.binary_cross_entropy_with_logits(before[rows] + told, there[rows])

        fit_layers(voice, loss, steps, 2e-3)


def told_apart(there: Tensor, elsewhere: Tensor) -> str:
    """Say how well logits of pictures with a kind stand out from those of pictures without it."""
    worst = elsewhere.sort(descending=True).values
    order = float((there[:, None] > worst[None]).float().mean())
    found = [float((there > worst[int(share * len(worst))]).float().mean()) for share in (0, 0.003, 0.01)]
    return f"rank {order:.3f}; found without a false alarm {found[0]:.2f}, with 0.3 % {found[1]:.2f}, with 1 % {found[2]:.2f}"


@torch.no_grad()
def report(verdict: Verdict, known: Tensor, labels: Tensor) -> None:
    """Print by kind how well pictures with it are told from sound ones."""
    logits = verdict(known)
    sound = (labels == 0).all(1)
    loss = label_loss(logits, labels)
    print(f"{len(known)} pictures kept out, {int(sound.sum())} of them sound; loss {loss:.3f}")
    for index, kind in enumerate(LABELS):
        there = logits[labels[:, index] == 1, index]
        print(f"{kind:9s} {len(there):5d} there; {told_apart(there, logits[sound, index])}")


@torch.no_grad()
def report_airs(verdict: Verdict, airs: Airs) -> None:
    """Print how well haze and darkness are told from sound pictures by maps."""
    sound = (airs.labels == 0).all(1)
    for name, kind, voices, tell in (
        ("haze", verdict.haze, verdict.maps, verdict.seen),
        ("darkness", verdict.dark, verdict.lights, verdict.shown),
    ):
        if kind is not None and len(voices) > 0:
            there, told = airs.labels[:, kind] == 1, tell(airs.maps).mean(0)
            print(f"{name} by maps: {int(there.sum())} there; {told_apart(told[there], told[sound])}")


def fit_all(model: Careful, photographs: Photographs, airs: list[Airs], options: argparse.Namespace) -> None:
    """Gather what a verdict hears, and fit all of it."""
    assert model.verdict is not None
    sets = [tuple(torch.load(path)[:2]) for path in options.known]
    if options.minutes > 0:
        sets.append(gather(model, photographs, options.minutes, options.seed + 1))
    known, labels = (torch.cat(parts) for parts in zip(*sets, strict=True))
    print(f"{len(known)} pictures gathered", flush=True)
    if options.keep:
        torch.save((known, labels), options.keep)
    model.verdict.mean.copy_(known.mean(0))
    model.verdict.scale.copy_(known.std(0) + 1e-3)
    fit(model.verdict, known, labels, options.epochs, options.seed)
    if airs:
        fit_maps(model.verdict.maps, HAZE, joined(airs), options)


def fit_maps(voices: nn.ModuleList, kind: int, airs: Airs, options: argparse.Namespace) -> None:
    """Fit the voices that see the map of the air, and tell a kind by it."""
    fit_voices(voices, airs.maps, airs.labels[:, kind], options.steps, options.seed)


def main() -> None:
    """Gather, fit and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--output", required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--known", nargs="*", default=[], help="files of earlier runs: what was gathered already")
    parser.add_argument("--keep", help="file to keep what is gathered in")
    parser.add_argument("--held", type=float, default=2.0, help="minutes of pictures that were kept out")
    parser.add_argument(
        "--air-minutes", type=float, default=0.0, help="for larger pictures that haze or darkness is told by"
    )
    parser.add_argument("--muted", type=float, default=0.0, help="share of these that have few colours")
    parser.add_argument("--air-known", nargs="*", default=[], help="files of earlier runs: such pictures")
    parser.add_argument("--air-keep", help="file to keep these in")
    parser.add_argument(
        "--only", choices=VOICES, help="fit those voices, of haze or of darkness, and leave the rest as it is"
    )
    parser.add_argument("--steps", type=int, default=6000, help="of the voices that see the map of the air")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kind = VOICES.get(options.only, HAZE)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    RENDERERS["rain"] = (*RENDERERS["rain"], (0.2, RainLayers(DATA / "train/pairs/rain_layers")))
    photographs = Photographs([(DATA / "train" / name, weight) for name, weight in FOLDERS.items()])
    airs = [Airs(*torch.load(path)) for path in options.air_known]
    if options.air_minutes > 0:
        airs.append(gather_air(photographs, options.air_minutes, options.seed + 1, kind, options.muted))
        if options.air_keep:
            torch.save(tuple(airs[-1]), options.air_keep)
    state = torch.load(options.checkpoint)
    kept = {key: value for key, value in state.items() if options.only or not key.startswith("verdict.")}
    lit = options.only == "lights"
    model = (
        network_of(kept, verdict=True, air_map=bool(airs) and not lit, light_map=lit)
        .eval()
        .to(memory_format=torch.channels_last)
    )
    assert model.verdict is not None
    if options.only:
        fit_maps(getattr(model.verdict, options.only), kind, joined(airs), options)
    else:
        fit_all(model, photographs, airs, options)
    if options.held > 0:
        if options.only is None:
            report(model.verdict, *gather(model, HeldOut(), options.held, 9001))
        report_airs(model.verdict, gather_air(HeldOut(), options.held, 9001, kind, options.muted))
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), options.output)


if __name__ == "__main__":
    main()
