"""Fits the trial of a `careful` network: what decides on rain where the first look leaves it open; nothing else of it changes.

    REBRIDGE_DATA=data python tools/train_trial.py runs/small-16/final.pt --minutes 6 --output runs/small-17/tried.pt

Pictures of the training mixture are drawn for a fixed time of the processor, treated for rain where rain is open, and what
a trial showed is kept; then the layers are fitted. Prints how well pictures of photographs that were kept out of training
are told apart.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from train_careful import DATA, FOLDERS, RainLayers, network_of
from train_verdict import HeldOut, fit_layers, told_apart

from rebridge.data.mixtures import Photographs
from rebridge.degradations.base import Draw
from rebridge.degradations.mixture import LABELS, RENDERERS, Mixture
from rebridge.degradations.preparation import Preparation
from rebridge.networks.careful import Careful
from rebridge.networks.judging import TRIED
from rebridge.networks.kinds import RAIN
from rebridge.networks.trial import RainTrial

T = TypeVar("T", bound=tuple[Tensor, ...])
SIZES = (192, 224, 256, 288)
MIXTURE = Mixture(
    counts=(0.5, 0.35, 0.12, 0.03), weights=dict.fromkeys(LABELS, 0.5) | {"rain": 4.0}, faded=0.1
)  # half of them sound


def drawing(draw: Draw, side: int = 256) -> Tensor:
    """Draw lines, circles and letters of one ink on one paper, (3, side, side) in [0, 1]: sound, and full of thin lines."""
    ink, paper = (255 * draw.rand(3) ** 0.3 if draw.uniform((0, 1)) < 0.5 else 90 * draw.rand(3) for _ in range(2))
    page = np.empty((side, side, 3), np.uint8)
    page[:] = paper.byte().numpy()
    for _ in range(draw.integer(4, 40)):
        x, y, u, v = (draw.integer(0, side - 1) for _ in range(4))
        colour, width = ink.tolist(), draw.integer(1, 4)
        smooth = cv2.LINE_AA if draw.uniform((0, 1)) < 0.5 else cv2.LINE_8
        match draw.integer(0, 3):
            case 0:
                cv2.circle(page, (x, y), u // 5, colour, width, smooth)
            case 1:
                cv2.putText(
                    page, f"{u} of {v} at {x}", (x // 2, y), draw.integer(0, 7), 0.3 + v / side, colour, 1, smooth
                )
            case _:
                cv2.line(page, (x, y), (u, v), colour, width, smooth)
    return torch.from_numpy(page).permute(2, 0, 1) / 255


@torch.no_grad()
def gather(model: Careful, photographs: Photographs, minutes: float, seed: int) -> tuple[Tensor, Tensor]:
    """Draw pictures for so many minutes: what a trial showed where rain was open (N, known), and the labels (N, kinds)."""
    preparation, known, labels, index = Preparation(), [], [], 0
    begin = time.process_time()
    while time.process_time() - begin < 60 * minutes:
        draw = Draw(seed * 10_000_000 + index)
        index += 1
        size = SIZES[draw.integer(0, len(SIZES) - 1)]
        if draw.uniform((0, 1)) < 0.06:
            image, label = drawing(draw), torch.zeros(len(LABELS))
        else:
            mixed = MIXTURE(preparation.patch(photographs.draw(draw), size, draw).contiguous(), draw)
            image, label = mixed.degraded, mixed.labels
        saved = (preparation.saved(image, draw) * 255).round() / 255
        y = (2 * saved - 1)[None].contiguous(memory_format=torch.channels_last)
        if model.judge(model.look(y))[0, RAIN] > TRIED:
            known.append(model.shown_by(model.tried(y, RAIN)))
            labels.append(label)
    return torch.cat(known), torch.stack(labels)


def fit(trial: RainTrial, known: Tensor, there: Tensor, steps: int, seed: int) -> None:
    """Fit the layers of a trial."""
    torch.manual_seed(seed)
    trial.mean.copy_(known.mean(0))
    trial.scale.copy_(known.std(0) + 1e-3)

    def loss() -> Tensor:
        rows = torch.randint(len(known), (256,))
        logits = trial(known[rows] + 0.1 * trial.scale * torch.randn(256, known.shape[1]))
        return F.binary_cross_entropy_with_logits(logits, there[rows])

    fit_layers(trial, loss, steps, 3e-3)


@torch.no_grad()
def report(name: str, logits: Tensor, labels: Tensor) -> None:
    """Print how well rain is told from all else, and from sound pictures."""
    there = logits[labels[:, RAIN] == 1]
    for what, rows in (("sound", (labels == 0).all(1)), ("all else", labels[:, RAIN] == 0)):
        print(f"{name}: {len(there)} there, {int(rows.sum())} {what}; {told_apart(there, logits[rows])}", flush=True)


def arguments(text: str, minutes: float, held: float, steps: int) -> argparse.ArgumentParser:
    """Make the options of a tool that fits a trial.

    text: the tool's own, of which the first line is shown; minutes, held, steps: what they are unless given.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--output", required=True)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--known", nargs="*", default=[], help="files of earlier runs: what was gathered already")
    parser.add_argument("--keep", help="file to keep what is gathered in")
    parser.add_argument("--held", type=float, default=held, help="minutes of pictures that were kept out; 0: no report")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def opened(checkpoint: str, trial: str) -> tuple[dict[str, Tensor], Careful]:
    """Read the weights of a network, and make it, but for those of a trial, whose names begin so; on one thread."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    state = {key: value for key, value in torch.load(checkpoint).items() if not key.startswith(trial)}
    return state, network_of(state, verdict="verdict.mean" in state).eval().to(memory_format=torch.channels_last)


def keep(output: str, state: dict[str, Tensor], name: str, trial: torch.nn.Module) -> None:
    """Write the weights with those of a trial, whose names begin so."""
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | {f"{name}{key}": value for key, value in trial.state_dict().items()}, output)


def collected(options: argparse.Namespace, kind: Callable[..., T], draw: Callable[[Photographs, float, int], T]) -> T:
    """Read the trials of earlier runs, and draw and keep those of this one.

    kind: what joins their tensors, the last of which are labels. draw: gathers some from photographs, for minutes and by a seed.
    """
    sets = [kind(*torch.load(path)) for path in options.known]
    if options.minutes > 0:
        photographs = Photographs([(DATA / "train" / name, weight) for name, weight in FOLDERS.items()])
        sets.append(draw(photographs, options.minutes, options.seed + 1))
        if options.keep:
            torch.save(tuple(sets[-1]), options.keep)
    trials = kind(*(torch.cat(parts) for parts in zip(*sets, strict=True)))
    print(f"{len(trials[-1])} trials", flush=True)
    return trials


def main() -> None:
    """Gather, fit and write the weights."""
    options = arguments(__doc__, minutes=6.0, held=2.0, steps=1500).parse_args()
    RENDERERS["rain"] = (*RENDERERS["rain"], (0.3, RainLayers(DATA / "train/pairs/rain_layers")))
    state, model = opened(options.checkpoint, "trial.")
    photographs = Photographs([(DATA / "train" / name, weight) for name, weight in FOLDERS.items()])
    sets = [tuple(torch.load(path)) for path in options.known]
    if options.minutes > 0:
        sets.append(gather(model, photographs, options.minutes, options.seed + 1))
    known, labels = (torch.cat(parts) for parts in zip(*sets, strict=True))
    if options.keep:
        torch.save((known, labels), options.keep)
    sure = labels[:, RAIN] >= 0
    torch.manual_seed(options.seed)
    trial = RainTrial(len(LABELS))
    fit(trial, known[sure], labels[sure, RAIN], options.steps, options.seed)
    if options.held > 0:
        seen, kept = gather(model, HeldOut(), options.held, 9001)
        report("first look", seen[:, RAIN], kept)
        report("trial", trial(seen), kept)
    keep(options.output, state, "trial.", trial)


if __name__ == "__main__":
    main()
