"""Fits the trials of raindrops and of blur of a `careful` network, which decide where the first look leaves these open.

    REBRIDGE_DATA=data python tools/train_change_trial.py runs/small/unveiled.pt --minutes 40 --output runs/small/changed.pt

Nothing else of it changes. Pictures are drawn for a fixed time of the processor, with drops of several kinds, with blur and with
neither, many of the others such that look as if there were some; those at which a kind is open at first sight are treated for
it, and what that showed is kept; then the layers are fitted. Prints how well pictures of photographs that were kept out of
training are told apart.
"""

import math
import time
from typing import NamedTuple

import torch
from backdrops import before_backdrop
from lookalikes import discs, out_of_focus
from torch import Tensor
from train_careful import DATA, FOLDERS
from train_trial import arguments, drawing, keep, opened
from train_verdict import HeldOut, fit_voices, graded, told_apart
from unhazy import art, closeup

from rebridge.data.mixtures import Photographs
from rebridge.degradations.base import Draw
from rebridge.degradations.mixture import LABELS, OPEN, RENDERERS, Mixture
from rebridge.degradations.preparation import Preparation
from rebridge.degradations.raindrop import Raindrop
from rebridge.networks.careful import Careful
from rebridge.networks.judging import BY_CHANGES
from rebridge.networks.trial import ChangeTrial, Shown

SIZES = (192, 224, 256, 288, 320)
PREPARATION = Preparation(tone=0.1, muted=0.1)
MIXTURE = Mixture(
    counts=(0.3, 0.5, 0.15, 0.05),
    weights=dict.fromkeys(LABELS, 0.4) | {"raindrop": 2.0, "blur": 2.0},
    faded=0.15,
)
DROPS = (
    (0.55, Raindrop()),
    (0.25, Raindrop(density=(3e-5, 2e-4), radius=(8, 45), soft=(1.5, 10), blur=(2, 8))),
    (0.2, Raindrop(power=(0.3, 1.5), blur=(3, 10), soft=(2, 8), opacity=(0.6, 1.0))),
)
"""Renderers of the drops that it is told by, and their shares: few large ones and such that do not turn the scene, besides."""
WIDER = 1.0
"""How far below the logit from which a trial is made at first sight it is kept."""
HELPS = 0.1
"""Gain in dB below which it is left open whether what is there is to be taken out."""


class Trials(NamedTuple):
    """Trials of many pictures."""

    maps: Tensor
    """(N, CHANGE_MAPS, MAP_SIDE, MAP_SIDE), in half precision."""
    numbers: Tensor
    """(N, 2 * kinds + LAYER_NUMBERS)"""
    there: Tensor
    """(N,): 1 where the kind is there, 0 where not, `OPEN` where it does not matter."""


class Drawn(NamedTuple):
    """A picture, what it was before it was degraded, and a label for each kind."""

    image: Tensor
    """(3, H, W) in [0, 1]"""
    clean: Tensor
    labels: Tensor


def drawn(photographs: Photographs, draw: Draw, seed: int) -> Drawn:
    """Draw a picture, sound or not."""
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
    return Drawn(PREPARATION.saved(mixed.degraded, draw), image, mixed.labels)


def sound(image: Tensor) -> Drawn:
    """Label a picture that nothing ails."""
    return Drawn(image, image, torch.zeros(len(LABELS)))


@torch.no_grad()
def gather(model: Careful, photographs: Photographs, minutes: float, seed: int) -> dict[int, Trials]:
    """Draw pictures for so many minutes, and keep what trials of each kind show where it is open."""
    usual, RENDERERS["raindrop"] = RENDERERS["raindrop"], DROPS
    kept: dict[int, list[tuple[Shown, float]]] = {kind: [] for kind in BY_CHANGES}
    index, begin = 0, time.process_time()
    while time.process_time() - begin < 60 * minutes:
        number = seed * 10_000_000 + index
        image, clean, labels = drawn(photographs, Draw(number), number)
        index += 1
        y, truth = (2 * (picture * 255).round() / 255 - 1 for picture in (image[None], clean[None]))
        y = y.contiguous(memory_format=torch.channels_last)
        seen = model.look(y, trial=False)
        judged = model.judge(seen)[0]
        for kind, least in BY_CHANGES.items():
            if judged[kind] > least - WIDER:
                trial = model.tried(y, kind, seen)
                helps = psnr(trial.x, truth) - psnr(trial.y, truth) > HELPS
                there = float(labels[kind])
                kept[kind].append((model.shown_of(trial), OPEN if there == 1 and not helps else there))
    RENDERERS["raindrop"] = usual
    return {kind: joined(found) for kind, found in kept.items()}


def joined(found: list[tuple[Shown, float]]) -> Trials:
    """Join what trials showed, and the labels."""
    maps, numbers = (torch.cat(values) for values in zip(*(shown for shown, _ in found), strict=True))
    return Trials(maps.half(), numbers, torch.tensor([there for _, there in found]))


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of pictures in [-1, 1]."""
    return -10 * math.log10(float((a - b).square().mean()) / 4 + 1e-10)


def fit(trial: ChangeTrial, trials: Trials, steps: int, seed: int) -> None:
    """Fit the voices of a trial, each apart."""
    trial.mean.copy_(trials.numbers.mean(0))
    trial.scale.copy_(trials.numbers.std(0) + 1e-3)
    fit_voices(trial.voices, trials.maps, trials.there, steps, seed, trial.scaled(trials.numbers))


@torch.no_grad()
def report(trial: ChangeTrial, trials: Trials, kind: int) -> None:
    """Print how well a kind is told from all else, by a first look and by the trial."""
    there, elsewhere = trials.there == 1, trials.there == 0
    shown = Shown(trials.maps.float(), trials.numbers)
    for name, logits in (("first look", trials.numbers[:, kind]), ("trial", trial(shown))):
        counts = f"{int(there.sum())} there, {int(elsewhere.sum())} not"
        print(f"{LABELS[kind]}, {name}: {counts}; {told_apart(logits[there], logits[elsewhere])}", flush=True)


def main() -> None:
    """Gather, fit and write the weights."""
    options = arguments(__doc__, minutes=40.0, held=8.0, steps=3000).parse_args()
    state, model = opened(options.checkpoint, "change_trials.")
    sets = [torch.load(path, weights_only=False) for path in options.known]
    if options.minutes > 0:
        photographs = Photographs([(DATA / "train" / name, weight) for name, weight in FOLDERS.items()])
        sets.append(gather(model, photographs, options.minutes, options.seed + 1))
        if options.keep:
            torch.save(sets[-1], options.keep)
    held = gather(model, HeldOut(), options.held, 9001) if options.held > 0 else {}
    for kind in BY_CHANGES:
        trials = Trials(*(torch.cat(parts) for parts in zip(*(found[kind] for found in sets), strict=True)))
        print(f"{LABELS[kind]}: {len(trials.there)} trials", flush=True)
        torch.manual_seed(options.seed)
        trial = ChangeTrial(len(LABELS))
        fit(trial, trials, options.steps, options.seed)
        if held:
            report(trial.eval(), held[kind], kind)
        keep(options.output, state, f"change_trials.{LABELS[kind]}.", trial)
        state = torch.load(options.output)


if __name__ == "__main__":
    main()
