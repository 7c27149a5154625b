"""Fits the trial of raindrops of a `careful` network: what decides where the first look leaves them open; nothing else changes.

    REBRIDGE_DATA=data python tools/train_drop_trial.py runs/small/unveiled.pt --minutes 40 --output runs/small/dropped.pt

Pictures are drawn for a fixed time of the processor, with drops of several kinds and without, many of the others such that look
as if there were some; those at which they are open at first sight are treated, and what that showed is kept; then the layers
are fitted. Prints how well pictures of photographs that were kept out of training are told apart.
"""

import time
from functools import partial
from typing import NamedTuple

import torch
from backdrops import before_backdrop
from calibrate_careful import psnr
from lookalikes import discs, out_of_focus
from torch import Tensor
from train_trial import arguments, collected, drawing, keep, opened
from train_verdict import HeldOut, fit_voices, graded, told_apart
from unhazy import art, closeup

from rebridge.data.mixtures import Photographs
from rebridge.degradations.base import Draw
from rebridge.degradations.mixture import LABELS, OPEN, RENDERERS, Mixture
from rebridge.degradations.preparation import Preparation
from rebridge.degradations.raindrop import Raindrop
from rebridge.networks.careful import Careful
from rebridge.networks.judging import DROPPED
from rebridge.networks.kinds import RAINDROP
from rebridge.networks.trial import DropTrial, Wiped

SIZES = (192, 224, 256, 288, 320)
PREPARATION = Preparation(tone=0.1, muted=0.1)
MIXTURE = Mixture(
    counts=(0.3, 0.5, 0.15, 0.05),
    weights=dict.fromkeys(LABELS, 0.4) | {"raindrop": 2.0, "blur": 2.0},
    faded=0.15,
)
SMALLER = (128, 160, 192, 224, 288, 352)
REDUCED = Preparation(reduction=(0.3, 0.9), tone=0.3, muted=0.15, sharpened=0.2)
OTHERS = Mixture(counts=(0, 0.8, 0.2), weights=dict.fromkeys(LABELS, 1.0) | {"raindrop": 0.0, "jpeg": 2.0}, faded=0.3)
"""What faces and eyes are drawn by, which are as large as drops in small pictures: most of them sound, some with other kinds."""
DROPS = (
    (0.55, Raindrop()),
    (0.25, Raindrop(density=(3e-5, 2e-4), radius=(8, 45), soft=(1.5, 10), blur=(2, 8))),
    (0.2, Raindrop(power=(0.3, 1.5), blur=(3, 10), soft=(2, 8), opacity=(0.6, 1.0))),
)
"""Renderers of the drops that it is told by, and their shares: few large ones and such that do not turn the scene, besides."""
WIDER = 1.0
"""How far below the logit from which a trial is made at first sight it is kept."""
HELPS = 0.4
"""Gain in dB below which it is left open whether what is there is to be taken out."""


class Trials(NamedTuple):
    """Trials of many pictures."""

    maps: Tensor
    """(N, CHANGE_MAPS, MAP_SIDE, MAP_SIDE), in half precision."""
    numbers: Tensor
    """(N, 2 * kinds + LAYER_NUMBERS)"""
    there: Tensor
    """(N,): 1 where there are drops, 0 where not, `OPEN` where it does not matter."""


class Drawn(NamedTuple):
    """A picture, what it was before it was degraded, and whether there are drops."""

    image: Tensor
    """(3, H, W) in [0, 1]"""
    clean: Tensor
    there: float


def drawn(photographs: Photographs, draw: Draw, seed: int) -> Drawn:
    """Draw a picture, sound or not."""
    if draw.uniform((0, 1)) < 0.35:
        return without_drops(photographs.draw(draw), draw)
    size, chance = SIZES[draw.integer(0, len(SIZES) - 1)], draw.uniform((0, 1))
    if chance < 0.02:
        return sound((graded(seed) + 1) / 2)
    if chance < 0.05:
        return sound(drawing(draw))
    if chance < 0.1:
        return sound(PREPARATION.saved(art(size, draw), draw))
    stored = photographs.draw(draw)
    if chance < 0.14:
        return sound(PREPARATION.saved(closeup(stored, size, draw), draw))
    image = PREPARATION.patch(stored, size, draw)
    for limit, change in ((0.24, out_of_focus), (0.29, discs), (0.33, before_backdrop)):
        if chance < limit:
            return sound(PREPARATION.saved(change(image, draw), draw))
    mixed = MIXTURE(image.contiguous(), draw)
    return Drawn(PREPARATION.saved(mixed.degraded, draw), image, float(mixed.labels[RAINDROP]))


def without_drops(stored: Tensor, draw: Draw) -> Drawn:
    """Draw a photograph of any size, most often a sound one."""
    image, chance = REDUCED.patch(stored, SMALLER[draw.integer(0, len(SMALLER) - 1)], draw), draw.uniform((0, 1))
    image = image.flip(-1) if draw.uniform((0, 1)) < 0.5 else image
    if chance < 0.12:
        mixed = OTHERS(image.contiguous(), draw)
        return Drawn(REDUCED.saved(mixed.degraded, draw), image, float(mixed.labels[RAINDROP]))
    for limit, change in ((0.17, out_of_focus), (0.22, discs)):
        image = change(image, draw) if limit - 0.05 <= chance < limit else image
    return sound(REDUCED.saved(image, draw))


def sound(image: Tensor) -> Drawn:
    """Name a picture without drops."""
    return Drawn(image, image, 0.0)


@torch.no_grad()
def gather(model: Careful, photographs: Photographs, minutes: float, seed: int) -> Trials:
    """Draw pictures for so many minutes, and keep what trials show where raindrops are open."""
    usual, RENDERERS["raindrop"] = RENDERERS["raindrop"], DROPS
    kept: list[Wiped] = []
    labels: list[float] = []
    index, begin = 0, time.process_time()
    while time.process_time() - begin < 60 * minutes:
        number = seed * 10_000_000 + index
        image, clean, there = drawn(photographs, Draw(number), number)
        index += 1
        y, truth = (2 * (picture[None] * 255).round() / 255 - 1 for picture in (image, clean))
        y = y.contiguous(memory_format=torch.channels_last)
        seen = model.look(y, trial=False)
        if model.judge(seen)[0, RAINDROP] > DROPPED - WIDER:
            trial = model.tried(y, RAINDROP, seen)
            helps = psnr(trial.x, truth) - psnr(trial.y, truth) > HELPS
            kept.append(model.shown_of(trial))
            labels.append(OPEN if there == 1 and not helps else there)
    RENDERERS["raindrop"] = usual
    maps, numbers = (torch.cat(values) for values in zip(*kept, strict=True))
    return Trials(maps.half(), numbers, torch.tensor(labels))


def fit(trial: DropTrial, trials: Trials, steps: int, seed: int) -> None:
    """Fit the voices of a trial, each apart."""
    trial.mean.copy_(trials.numbers.mean(0))
    trial.scale.copy_(trials.numbers.std(0) + 1e-3)
    fit_voices(trial.voices, trials.maps, trials.there, steps, seed, trial.scaled(trials.numbers))


@torch.no_grad()
def report(trial: DropTrial, trials: Trials) -> None:
    """Print how well drops are told from all else, by a first look and by the trial."""
    there, elsewhere = trials.there == 1, trials.there == 0
    shown = Wiped(trials.maps.float(), trials.numbers)
    for name, logits in (("first look", trials.numbers[:, RAINDROP]), ("trial", trial(shown))):
        counts = f"{int(there.sum())} there, {int(elsewhere.sum())} not"
        print(f"{name}: {counts}; {told_apart(logits[there], logits[elsewhere])}", flush=True)


def main() -> None:
    """Gather, fit and write the weights."""
    options = arguments(__doc__, minutes=40.0, held=8.0, steps=3000).parse_args()
    state, model = opened(options.checkpoint, "drop_trial.")
    trials = collected(options, Trials, partial(gather, model))
    torch.manual_seed(options.seed)
    trial = DropTrial(len(LABELS))
    fit(trial, trials, options.steps, options.seed)
    if options.held > 0:
        report(trial.eval(), gather(model, HeldOut(), options.held, 9001))
    keep(options.output, state, "drop_trial.", trial)


if __name__ == "__main__":
    main()
