"""Fits the trial of haze of a `careful` network: what decides where the first look leaves haze open; nothing else changes.

    REBRIDGE_DATA=data python tools/train_haze_trial.py runs/small/tried.pt --minutes 25 --output runs/small/unveiled.pt

Pictures are drawn for a fixed time of the processor, half of them hazy, many of the others such that look hazy; those at which
haze is open at first sight have it taken out, and what that showed is kept; then the layers are fitted. Prints how well pictures
of photographs that were kept out of training are told apart.
"""

import time
from functools import partial
from typing import NamedTuple

import torch
from backdrops import before_backdrop
from torch import Tensor
from train_careful import DATA, DepthPairs
from train_trial import arguments, collected, keep, opened
from train_verdict import HAZES, UPRIGHT_SIZES, HeldOut, fit_voices, graded, told_apart
from unhazy import art, closeup, faded

from rebridge.data.mixtures import Photographs
from rebridge.degradations.base import Draw
from rebridge.degradations.mixture import LABELS, RENDERERS, Mixture
from rebridge.degradations.preparation import Preparation
from rebridge.networks.careful import Careful
from rebridge.networks.judging import GRAINY, SURER, VEILED, hazeless
from rebridge.networks.kinds import HAZE, NOISE
from rebridge.networks.trial import HazeTrial, Unveiled
from rebridge.networks.verdict import MapVoice

PREPARATION = Preparation(tone=0.2, muted=0.4)
MIXTURE = Mixture(counts=(0.3, 0.5, 0.15, 0.05), weights=dict.fromkeys(LABELS, 0.5) | {"haze": 3.5}, faded=0.15)
OPEN = -3.0
"""Logit of haze at a first look above which a trial is kept."""


class Trials(NamedTuple):
    """Trials of many pictures."""

    maps: Tensor
    """(N, HAZE_MAPS, MAP_SIDE, MAP_SIDE), in half precision."""
    numbers: Tensor
    """(N, HAZE_NUMBERS)"""
    labels: Tensor
    """(N, kinds)"""


def drawn(photographs: Photographs, pairs: DepthPairs, draw: Draw, seed: int) -> tuple[Tensor, Tensor]:
    """Draw a picture (3, H, W) in [0, 1], and the labels (kinds,) of what is in it."""
    size, sound = UPRIGHT_SIZES[draw.integer(0, len(UPRIGHT_SIZES) - 1)], torch.zeros(len(LABELS))
    chance = draw.uniform((0, 1))
    if chance < 0.03:
        pair = pairs.draw(256, draw)
        return (pair.degraded, pair.labels) if draw.uniform((0, 1)) < 0.5 else (pair.target, sound)
    if chance < 0.04:
        return (graded(seed) + 1) / 2, sound
    if chance < 0.16:
        return PREPARATION.saved(art(size, draw), draw), sound
    if chance < 0.3:
        patch = faded(PREPARATION.patch(photographs.draw(draw), size, draw), draw)
        return PREPARATION.saved(patch, draw), sound
    return photographed(photographs.draw(draw), size, draw)


def photographed(stored: Tensor, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """Draw a patch of a photograph, hazy or sound: from very near, overexposed or before an even backdrop; noisy or not."""
    near = draw.uniform((0, 1)) < 0.1
    image = closeup(stored, size, draw) if near else PREPARATION.patch(stored, size, draw)
    image = image.flip(-1) if draw.uniform((0, 1)) < 0.5 else image
    image = before_backdrop(image, draw) if draw.uniform((0, 1)) < 0.2 else image
    bright = draw.uniform((0, 1)) < 0.1
    image = (image * draw.uniform((1, 4.5))).clamp(0, 1) if bright else image
    labels = torch.zeros(len(LABELS))
    if not (near or bright):
        mixed = MIXTURE(image.contiguous(), draw)
        image, labels = mixed.degraded, mixed.labels
    if draw.uniform((0, 1)) < 0.2:
        labels[NOISE] = 1.0
        return (image + draw.log_uniform((4 / 255, 35 / 255)) * draw.randn(*image.shape)).clamp(0, 1), labels
    return PREPARATION.saved(image, draw), labels


@torch.no_grad()
def gather(model: Careful, photographs: Photographs, minutes: float, seed: int) -> Trials:
    """Draw pictures for so many minutes, and keep what trials of haze show where it is open."""
    usual, RENDERERS["haze"] = RENDERERS["haze"], HAZES
    pairs = DepthPairs(DATA / "train/rgbd/middlebury")
    kept: list[Unveiled] = []
    labels: list[Tensor] = []
    index, begin = 0, time.process_time()
    while time.process_time() - begin < 60 * minutes:
        number = seed * 10_000_000 + index
        image, label = drawn(photographs, pairs, Draw(number), number)
        index += 1
        y = (2 * (image * 255).round() / 255 - 1)[None].contiguous(memory_format=torch.channels_last)
        if label[HAZE] >= 0 and (shown := tried(model, y)) is not None:
            kept.append(shown)
            labels.append(label)
    RENDERERS["haze"] = usual
    maps, numbers = (torch.cat(values) for values in zip(*kept, strict=True))
    return Trials(maps.half(), numbers, torch.stack(labels))


def tried(model: Careful, y: Tensor) -> Unveiled | None:
    """Make the trial of a picture (1, 3, H, W) that a network would make, unless it is sure that there is no haze."""
    seen = model.look(y, trial=False)
    judged = model.judge(seen)[0]
    haze = judged[HAZE]
    if judged[NOISE] > GRAINY and haze > VEILED:
        y = model.tried(y, NOISE, seen).x
        seen = model.look(y, trial=False)
        haze = model.judge(seen)[0, HAZE] + SURER
    return model.unveiled(haze[None], y, seen) if haze > OPEN and not hazeless(seen).any() else None


def fit(trial: HazeTrial, trials: Trials, steps: int, seed: int) -> None:
    """Fit the voices of a trial, each apart."""
    trial.mean.copy_(trials.numbers.mean(0))
    trial.scale.copy_(trials.numbers.std(0))
    for voice in trial.voices:
        assert isinstance(voice, MapVoice)
        torch.nn.init.zeros_(voice.second.weight)
        torch.nn.init.zeros_(voice.second.bias)
    there, heard, before = trials.labels[:, HAZE], trial.scaled(trials.numbers), trials.numbers[:, 0]
    fit_voices(trial.voices, trials.maps, there, steps, seed, heard, before)


@torch.no_grad()
def report(trial: HazeTrial, trials: Trials) -> None:
    """Print how well haze is told from sound pictures, by a first look and by the trial."""
    hazy, sound = trials.labels[:, HAZE] == 1, (trials.labels == 0).all(1)
    shown = Unveiled(trials.maps.float(), trials.numbers)
    for name, logits in (("first look", trials.numbers[:, 0]), ("trial", trial(shown))):
        print(f"{name}: {int(hazy.sum())} there, {int(sound.sum())} sound; {told_apart(logits[hazy], logits[sound])}")


def main() -> None:
    """Gather, fit and write the weights."""
    options = arguments(__doc__, minutes=25.0, held=4.0, steps=3000).parse_args()
    state, model = opened(options.checkpoint, "haze_trial.")
    trials = collected(options, Trials, partial(gather, model))
    torch.manual_seed(options.seed)
    trial = HazeTrial()
    fit(trial, trials, options.steps, options.seed)
    if options.held > 0:
        report(trial.eval(), gather(model, HeldOut(), options.held, 9001))
    keep(options.output, state, "haze_trial.", trial)


if __name__ == "__main__":
    main()
