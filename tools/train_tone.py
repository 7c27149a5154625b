"""Fits the tone of a `careful` network, what it undoes of haze and darkness; the examiner before it stays as it is.

    export REBRIDGE_DATA=data
    python tools/train_tone.py START --minutes 30 --seed 1 --keep runs/airs-1.pt
    python tools/train_tone.py START --known runs/airs-?.pt --steps 4000 --output runs/toned.pt

Pictures are drawn and looked at once, and kept as what the tone sees of them, at a quarter and an eighth of their size: that
takes more time than a step of the tone. The loss is the logarithm of each picture's error, as in tools/train_careful.py. The
curves by which darkness is undone are held close to what they were.
"""

import argparse
import copy
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from train_careful import DATA, FOLDERS, DepthPairs, averaged, log_error, network_of

from rebridge.data.mixtures import Labelled, MixedPatches, Photographs, RealPairs
from rebridge.degradations.base import Draw
from rebridge.degradations.distance import DepthHaze
from rebridge.degradations.mixture import LABELS, RENDERERS, Mixture
from rebridge.degradations.preparation import Preparation
from rebridge.degradations.weather import Haze
from rebridge.networks.averages import block_means
from rebridge.networks.careful import Careful
from rebridge.networks.impressions import Impression, impression
from rebridge.networks.kinds import HAZE, LOWLIGHT
from rebridge.networks.toning import Cells, Tone
from rebridge.training.muon import Muon

SIDES = {192: 0.35, 256: 0.4, 320: 0.25}
"""Sides of the pictures in px, with their shares."""
AT_ONCE = 64
"""Pictures of one side that are kept together."""
DARK = 8
"""Every so manieth picture is dark instead of hazy."""
FLOOR = 3e-4
"""Mean square error, in the range [-1, 1], below which pictures count as alike."""
KEEP = 20.0
"""Weight of the exposure that was learned before."""


class Seen(NamedTuple):
    """What the tone sees of pictures, and what shall come out."""

    image: Tensor
    """(B, 3, H/4, W/4) in [0, 1], as those below."""
    target: Tensor
    """(B, 3, H/4, W/4)."""
    least: Tensor
    """(B, 3, H/8, W/8)."""
    greatest: Tensor
    """(B, 3, H/8, W/8)."""
    places: Tensor
    """(B, features, H/16, W/16): the examiner's features."""
    features: Tensor
    """(B, 3 * features): those of the whole, see `Impression`."""
    levels: Tensor
    """(B, 4, shares)."""
    haze: Tensor
    """(B,) in [0, 1]: how much to treat, as below."""
    dark: Tensor
    """(B,)."""

    def some(self, rows: Tensor) -> "Seen":
        """Return some of them in float32, channels last."""
        lies = torch.channels_last
        chosen = (value[rows].float() for value in self)
        return Seen._make(value.contiguous(memory_format=lies) if value.dim() == 4 else value for value in chosen)


def streams(folders: dict[str, float]) -> tuple[MixedPatches, MixedPatches]:
    """Make the streams of hazy and of dark pictures."""
    photographs = Photographs([(DATA / "train" / name, weight) for name, weight in folders.items()])
    RENDERERS["haze"] = ((0.25, Haze(beta=(0.15, 1.6))), (0.75, DepthHaze(beta=(0.15, 3.2))))

    def stream(kind: str, weight: float, pairs: DepthPairs | RealPairs) -> MixedPatches:
        weights = dict.fromkeys(LABELS, 0.4) | {kind: weight}
        mixture = Mixture(counts=(0.0, 0.78, 0.17, 0.05), weights=weights, faded=0.08)
        return MixedPatches(photographs, mixture, Preparation(), [(pairs, 0.08)], partial=0.1, wrong=0.03)

    hazy = stream("haze", 12.0, DepthPairs(DATA / "train/rgbd/middlebury"))
    return hazy, stream("lowlight", 9.0, RealPairs(DATA / "train/pairs/lowlight", "lowlight"))


@torch.no_grad()
def looked_at(network: Careful, one: Labelled) -> Seen:
    """Look at one picture, as a batch of one in half precision."""
    y = (2 * one.degraded[None] - 1).contiguous(memory_format=torch.channels_last)
    features = network._features(y)
    whole = impression(y, features)
    image = one.degraded[None]
    cells = Cells.of(image)
    haze, dark = (one.treat[None, kind] for kind in (HAZE, LOWLIGHT))
    small = block_means(image, 4), block_means(one.target[None], 4), cells.least, cells.greatest, features
    return Seen(*(value.half() for value in small), whole.features, whole.levels, haze, dark)


def drawn(network: Careful, minutes: float, seed: int) -> Iterator[Seen]:
    """Draw pictures for a time, `AT_ONCE` of one side together."""
    hazy, dark = streams(FOLDERS | dict.fromkeys(("clean/screenshots", "clean/receipts", "clean/rendered"), 0.1))
    choose, number, begin = torch.Generator().manual_seed(seed), 0, time.monotonic()
    while time.monotonic() - begin < 60 * minutes:
        side = list(SIDES)[int(torch.multinomial(torch.tensor(list(SIDES.values())), 1, generator=choose))]
        found: list[Seen] = []
        while len(found) < AT_ONCE:
            source = dark if len(found) % DARK == DARK - 1 else hazy
            one = source.draw(side, Draw(seed * 10_000_019 + number))
            number += 1
            if max(one.treat[HAZE], one.treat[LOWLIGHT]) > 0:
                found.append(looked_at(network, one))
        yield Seen._make(torch.cat(parts) for parts in zip(*found, strict=True))


def loss_of(tone: Tone, before: Tone, seen: Seen, dense: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a tone on pictures, and figures to show.

    Args:
        tone: what is fitted.
        before: whose exposure it shall keep.
        seen: the pictures.
        dense: how much more pictures count that are further from the truth: the exponent of their mean square error.
    """
    whole = Impression(seen.features, seen.levels)
    cells = Cells(F.avg_pool2d(seen.image, 2), seen.least, seen.greatest)
    toned, _ = tone.applied(seen.image, cells, seen.places, whole, seen.haze, seen.dark)
    errors = log_error(2 * toned, 2 * seen.target, FLOOR)
    hazy, dark = seen.haze > 0, seen.dark > 0
    weights = hazy * torch.exp(dense * log_error(2 * seen.image, 2 * seen.target, FLOOR)) + 0.1 * (dark & ~hazy)
    curves = tone.curve(tone._judged(whole, seen.haze, seen.dark)[0])
    with torch.no_grad():
        kept = before.curve(before._judged(whole, seen.haze, seen.dark)[0])
    unlike = (dark * (curves - kept).square().mean(1)).sum() / dark.sum().clamp_min(1)
    loss = (weights * errors).sum() / weights.sum() + KEEP * unlike
    only = hazy & ~dark
    return loss, {"hazy": errors[only].mean().detach(), "unlike": unlike.detach()}


def fit(network: Careful, known: list[Seen], steps: int, options: argparse.Namespace) -> dict[str, Tensor]:
    """Fit the tone of a network; returns its averaged weights."""
    tone = network.tone.train().requires_grad_(True).to(memory_format=torch.channels_last)
    before = copy.deepcopy(tone).eval().requires_grad_(False)
    average = {key: value.clone() for key, value in tone.state_dict().items()}
    optimiser = Muon(list(tone.parameters()), lr=options.lr, weight_decay=1e-4)
    choose, begin, sums = torch.Generator().manual_seed(options.seed), time.monotonic(), dict[str, Tensor]()
    for step in range(steps):
        group = known[int(torch.randint(len(known), (1,), generator=choose))]
        rows = torch.randperm(len(group.haze), generator=choose)[: options.batch]
        loss, figures = loss_of(tone, before, group.some(rows), options.dense)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tone.parameters(), 1.0)
        for parameters in optimiser.param_groups:
            parameters["lr"] = options.lr * min(1, step / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        optimiser.step()
        averaged(average, tone, min(0.998, (1 + step) / (10 + step)))
        sums = {key: sums.get(key, torch.zeros(())) + value for key, value in figures.items()}
        if (step + 1) % options.report == 0:
            text = " ".join(f"{key} {float(total) / options.report:.4f}" for key, total in sums.items())
            print(f"{step + 1} {(time.monotonic() - begin) / 60:.1f} min  {text}", flush=True)
            sums = {}
    return average


def main() -> None:
    """Read the options, draw or load pictures, and fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("start", help="weights of a `careful` network")
    parser.add_argument("--minutes", type=float, default=0.0, help="of the clock, for drawing pictures")
    parser.add_argument("--keep", type=Path, help="write what was drawn")
    parser.add_argument("--known", nargs="*", type=Path, default=[], help="what was drawn before")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--dense", type=float, default=0.0, help="how much more dense haze counts")
    parser.add_argument("--report", type=int, default=400, help="steps between lines of the log")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where to write the weights; none are fitted without it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # gradients far below 1 take most of the time of a step otherwise
    cv2.setNumThreads(1)
    state = torch.load(options.start)
    network = network_of(state, verdict="verdict.mean" in state).eval().requires_grad_(False)
    known = list(drawn(network, options.minutes, options.seed)) if options.minutes else []
    if options.keep is not None:
        torch.save([tuple(one) for one in known], options.keep)
    if options.output is None:
        return
    known += [Seen(*one) for path in options.known for one in torch.load(path, mmap=True)]
    print(f"{AT_ONCE * len(known):,} pictures", flush=True)
    toned = fit(network, known, options.steps, options)
    torch.save(state | {f"tone.{key}": value for key, value in toned.items()}, options.output)


if __name__ == "__main__":
    main()
