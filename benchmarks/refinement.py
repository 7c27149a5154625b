"""The perception-distortion curve of stochastic refinement, by number of steps and of averaged samples.

    REBRIDGE_DATA=... python benchmarks/refinement.py --json docs/tables/refinement.json --figure docs/images/refinement.png

Restores images under camera shake (no defocus) with every number of steps, several times, and averages the first 1, 2, 4, ...
samples. Distortion is PSNR; perception is the Frechet distance of filter-bank features (rebridge/evaluation/frechet.py) between
all restored and all clean images, and the metrics of pyiqa where it is installed. "0 steps" is the predictor alone.
"""

from __future__ import annotations

import argparse
import json
import statistics as means
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from motion_blur import add_clean, clean_of, motion_blur
from torch import Tensor

from rebridge import Restorer
from rebridge.evaluation.cases import Case
from rebridge.evaluation.frechet import features, frechet_distance, statistics
from rebridge.evaluation.metrics import psnr, ssim
from rebridge.evaluation.perceptual import DEFAULT, available, perceptual_metric


@dataclass
class Entry:
    """One way of restoring: mean PSNR in dB and SSIM, Frechet distance to the clean images, further metrics by name."""

    steps: int
    samples: int
    psnr: float
    ssim: float
    frechet: float
    others: dict[str, float] = field(default_factory=dict)


def halves(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [2**power for power in range(most.bit_length()) if 2**power <= most]


def restorations(
    restore: Restorer, y: Tensor, steps: list[int], samples: int, sampler: dict[str, float | str]
) -> dict[tuple[int, int], Tensor]:
    """Restore y (1, 3, H, W), by steps and averaged samples; (0, 0) is y, (0, 1) the prediction."""
    results = {(0, 0): y, (0, 1): restore.prediction(y)}
    for count in steps:
        drawn = restore.sample(y, samples, steps=count, sampler=sampler).all
        for number in halves(samples):
            results[count, number] = torch.stack(drawn[:number]).mean(0)
    return results


def measure(
    restore: Restorer, cases: list[Case], steps: list[int], samples: int, sampler: dict[str, float | str]
) -> tuple[list[Entry], float]:
    """All entries, and the distance between two halves of the clean images, what chance alone makes of it."""
    metrics = {name: perceptual_metric(name) for name in DEFAULT} if available() else {}
    scores: dict[tuple[int, int], list[tuple[float, ...]]] = defaultdict(list)
    found: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
    cleans = []
    for place, case in enumerate(cases):
        clean, y = (image[None] for image in case.load())
        cleans.append(features(clean))
        for key, restored in restorations(restore, y, steps, samples, sampler).items():
            found[key].append(features(restored))
            others = [metric(restored, clean) for metric in metrics.values()]
            scores[key].append((float(psnr(restored, clean)), float(ssim(restored, clean)), *others))
        print(f"{place + 1}/{len(cases)} {case.name}", flush=True)
    reference = statistics(cleans)
    entries = []
    for (count, number), rows in scores.items():
        figures = [means.fmean(column) for column in zip(*rows, strict=True)]
        distance = frechet_distance(statistics(found[count, number]), reference)
        entries.append(
            Entry(count, number, figures[0], figures[1], distance, dict(zip(metrics, figures[2:], strict=True)))
        )
    chance = frechet_distance(statistics(cleans[::2]), statistics(cleans[1::2]))
    return entries, chance


def draw(entries: list[Entry], path: Path) -> None:
    """The curve: one line per number of steps, one point per number of averaged samples, and the predictor."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.4))
    predicted = next(entry for entry in entries if (entry.steps, entry.samples) == (0, 1))
    axes.plot(predicted.psnr, predicted.frechet, "k*", markersize=12, label="predictor alone")
    for steps in sorted({entry.steps for entry in entries} - {0}):
        line = [entry for entry in entries if entry.steps == steps]
        axes.plot([e.psnr for e in line], [e.frechet for e in line], "o-", markersize=4, label=f"{steps} steps")
        for entry in line:
            axes.annotate(
                str(entry.samples), (entry.psnr, entry.frechet), fontsize=7, xytext=(3, 3), textcoords="offset points"
            )
    axes.set_xlabel("PSNR in dB (to the right: less distortion)")
    axes.set_ylabel("Fréchet distance to clean images (down: better perception)")
    axes.set_title("Stochastic refinement; numbers: averaged samples", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def table(entries: list[Entry]) -> str:
    """The entries as a Markdown table."""
    others = list(entries[0].others)
    lines = [
        "| steps | samples | PSNR | against the predictor | SSIM | Fréchet distance |"
        + "".join(f" {name} |" for name in others)
    ]
    lines.append("|---|---|---|---|---|---|" + "---|" * len(others))
    predicted = next(entry for entry in entries if (entry.steps, entry.samples) == (0, 1))
    for entry in entries:
        name = {(0, 0): "degraded", (0, 1): "predictor"}.get((entry.steps, entry.samples), str(entry.steps))
        samples = "-" if entry.steps == 0 else str(entry.samples)
        cells = [
            name,
            samples,
            f"{entry.psnr:.2f}",
            f"{entry.psnr - predicted.psnr:+.2f}",
            f"{entry.ssim:.4f}",
            f"{entry.frechet:.2f}",
        ]
        lines.append("| " + " | ".join([*cells, *(f"{entry.others[key]:.4f}" for key in others)]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="refine-blur-tiny")
    add_clean(parser)
    parser.add_argument("--limit", type=int, help="only so many images")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--samples", type=int, default=16, help="of each image, a power of two")
    parser.add_argument("--eta", type=float, default=1.0, help="of dbim: share of fresh noise")
    parser.add_argument("--grid", default=None, help="of dbim: how its times are spaced; by default the model's own")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--figure", type=Path, help="draw the curve here")
    options = parser.parse_args()
    restore = Restorer.from_pretrained(options.model, dtype=options.dtype)
    sampler: dict[str, float | str] = {"name": "dbim", "eta": options.eta}
    if options.grid:
        sampler["grid"] = options.grid
    cases = motion_blur(clean_of(options, parser), options.limit)
    entries, chance = measure(restore, cases, options.steps, options.samples, sampler)
    print(table(entries))
    print(f"Fréchet distance between the two halves of the {len(cases)} clean images: {chance:.2f}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "model": options.model,
            "images": len(cases),
            "chance": chance,
            "rows": [asdict(entry) for entry in entries],
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.figure:
        draw(entries, options.figure)


if __name__ == "__main__":
    main()
