"""Sets the thresholds of a `careful` network, so that on sound pictures that were kept out of training it does no harm.

    REBRIDGE_DATA=data python tools/calibrate_careful.py runs/small/last.pt --output runs/small/calibrated.pt

A kind is treated only where its probability exceeds that of every sound picture that treating it would change visibly: to
less than 44 dB for haze and low light, which may change everything, and to less than 38 dB for the others.
Prints for each kind how many of the degraded pictures in which it is there are then treated, and how well the
probabilities are calibrated: the mean gap between what was said and what was there.
"""

import argparse
import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from train_careful import DATA, FOLDERS, network_of

from rebridge.data.folders import image_files, read_stored
from rebridge.data.mixtures import held_out
from rebridge.degradations.base import Draw
from rebridge.degradations.mixture import LABELS, Mixture
from rebridge.degradations.preparation import Preparation
from rebridge.models.eight_bits import rounded, unrounded
from rebridge.networks.careful import Careful

RISE = 0.3
"""Share of what lies above a threshold, over which a kind goes from untreated to treated."""


class Harm(NamedTuple):
    """What treating a kind would do to a sound picture."""

    probability: float
    psnr: float


def sound_pictures(count: int) -> list[Tensor]:
    """Draw crops (1, 3, H, W) in [-1, 1] of held-out pictures, some saved as good JPEG, and evenly grey or coloured ones.

    count: of each picture in its own colours; one more has few.
    """
    found = []
    usual = Preparation(sharpened=0.15, tone=0.1, jpeg=0.3)
    preparations = [*(usual,) * count, replace(usual, muted=1.0)]
    for name in FOLDERS:
        files = [path for path in image_files(DATA / "train" / name) if held_out(path)]
        for index, path in enumerate(files):
            stored = read_stored(path)
            for turn, preparation in enumerate(preparations):
                draw = Draw(1000 * index + turn)
                size = (160, 224, 288)[turn % 3]
                found.append(preparation.saved(preparation.patch(stored, size, draw), draw))
    for seed in range(40):
        draw = Draw(seed)
        low, high = draw.rand(3, 1, 1), draw.rand(3, 1, 1)
        ramp = torch.linspace(0, 1, 192).expand(192, -1)
        found.append(low + (high - low) * (ramp.T if seed % 2 else ramp) * (seed % 4 > 0))
    return [2 * (image[None] * 255).round() / 255 - 1 for image in found]


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of pictures in [-1, 1], rounded to 8 bits."""
    error = float((((a.clamp(-1, 1) - b) * 127.5).round() / 255).square().mean())
    return 100.0 if error == 0 else -10 * math.log10(error)


@torch.no_grad()
def harms(model: Careful, pictures: list[Tensor], least: float) -> list[list[Harm]]:
    """For each kind, what treating it would do to the pictures that show it with a probability of at least `least`."""
    found: list[list[Harm]] = [[] for _ in LABELS]
    for y in pictures:
        probabilities = model.examine(y)[0]
        for kind, probability in enumerate(probabilities.tolist()):
            if probability > least:
                named = torch.zeros(1, len(LABELS))
                named[0, kind] = 1.0
                found[kind].append(Harm(probability, psnr(y + model(y, torch.ones(1), y, named), y)))
    return found


def threshold(found: list[Harm], visible: float, least: float, margin: float) -> float:
    """Choose the probability above which a kind is treated: that of the worst false alarm, and a margin in logits."""
    worst = max((harm.probability for harm in found if harm.psnr < visible), default=0.0)
    if worst <= 0:
        return least
    return max(least, 1 / (1 + math.exp(-(math.log(worst / (1 - worst)) + margin))))


@torch.no_grad()
def recall(model: Careful, pictures: int) -> tuple[Tensor, Tensor, Tensor]:
    """Shares of kinds that are there and treated, (kinds,); probabilities and labels of all pictures, (N, kinds)."""
    said, there = [], []
    files = [
        path for name in ("bsd432", "clean/imagenet", "clean/wallpapers") for path in image_files(DATA / "train" / name)
    ]
    files = [path for path in files if held_out(path)]
    mixture, preparation = Mixture(counts=(0.2, 0.6, 0.2), faded=0.0), Preparation()
    for seed in range(pictures):
        draw = Draw(77_000 + seed)
        mixed = mixture(preparation.patch(read_stored(files[seed % len(files)]), 192, draw), draw)
        said.append(model.examine(2 * (mixed.degraded[None] * 255).round() / 255 - 1)[0])
        there.append(mixed.labels)
    probabilities, labels = torch.stack(said), torch.stack(there)
    treated = (probabilities > model.low) & (labels == 1)
    return treated.sum(0) / (labels == 1).sum(0).clamp_min(1), probabilities, labels


def gap(said: Tensor, there: Tensor) -> float:
    """Mean gap between probability and share over ten bins, weighted by their numbers; labels left open do not count."""
    known = there >= 0
    said, there = said[known], there[known]
    bins = (said * 10).long().clamp(max=9)
    parts = [(bins == place) for place in range(10)]
    return sum(
        float((said[part].mean() - there[part].mean()).abs() * part.sum()) for part in parts if part.any()
    ) / len(said)


def by_kind(given: list[str]) -> dict[str, float]:
    """Read KIND=NUMBER."""
    return {kind: float(value) for kind, _, value in (one.partition("=") for one in given)}


def main() -> None:
    """Calibrate one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--output", required=True)
    parser.add_argument("--crops", type=int, default=4)
    parser.add_argument("--degraded", type=int, default=400)
    parser.add_argument("--visible", type=float, default=38.0)
    parser.add_argument("--tone-visible", type=float, default=44.0)
    parser.add_argument("--eight-bits", action="store_true", help="round the weights as a package in eight bits does")
    parser.add_argument("--least", type=float, default=0.3)
    parser.add_argument("--margin", type=float, default=0.4)
    parser.add_argument("--at-least", nargs="*", default=[], help="KIND=PROBABILITY, where another set has shown harm")
    parser.add_argument(
        "--rise",
        nargs="*",
        default=[],
        help="KIND=SHARE of what lies above its threshold, over which it comes to be treated",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = torch.load(options.checkpoint)
    if options.eight_bits:  # to be decided on as it will be stored
        state = {
            key: value.float() if value.is_floating_point() else value
            for key, value in unrounded(rounded(state)).items()
        }
    model = network_of(state, verdict="verdict.mean" in state).eval().to(memory_format=torch.channels_last)
    pictures = sound_pictures(options.crops)
    found = harms(model, pictures, options.least / 2)
    visible = [options.tone_visible if kind in ("haze", "lowlight") else options.visible for kind in LABELS]
    least = dict.fromkeys(LABELS, options.least) | by_kind(options.at_least)
    rise = dict.fromkeys(LABELS, RISE) | by_kind(options.rise)
    lows = [
        threshold(harm, limit, least[kind], options.margin)
        for kind, harm, limit in zip(LABELS, found, visible, strict=True)
    ]
    model.low.copy_(torch.tensor(lows))
    model.high.copy_(torch.tensor([low + rise[kind] * (1 - low) for kind, low in zip(LABELS, lows, strict=True)]))
    shares, said, there = recall(model, options.degraded)
    print(f"{len(pictures)} sound pictures")
    for index, kind in enumerate(LABELS):
        alarms = sum(harm.probability > options.least for harm in found[index])
        print(
            f"{kind:10s} treated above {lows[index]:.3f}; false alarms above {options.least:g}: {alarms:3d};"
            f" worst {min((harm.psnr for harm in found[index]), default=100.0):.1f} dB;"
            f" of those there {float(shares[index]):.2f} treated; gap {gap(said[:, index], there[:, index]):.3f}"
        )
    state["low"], state["high"] = model.low.clone(), model.high.clone()
    torch.save(state, options.output)


if __name__ == "__main__":
    main()
