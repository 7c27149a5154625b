"""What the steps of a bridge buy: texture, samples that differ where the model guesses, and at what cost in PSNR.

    REBRIDGE_DATA=... python benchmarks/texture.py --model rdbm-texture --json docs/tables/texture.json

Restores photographs that `rebridge degrade` has damaged by one step and by several. Texture is the Frechet distance of filter-
bank statistics between all restored and all clean pictures (rebridge/evaluation/frechet.py). With --samples, the same pictures
are restored several times: how the size of the error goes along with the deviation of the samples (correlation over all pixels,
both averaged over 5 x 5 of them, and as they are), and how large the error is where the samples differ least and most. The root
mean square error of the mean of N samples around a truth that is like one of them is sqrt(1 + 1/N) times their deviation.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from rebridge import Restorer, degradations
from rebridge.data.folders import image_files, read_stored
from rebridge.evaluation.frechet import features, frechet_distance, statistics
from rebridge.evaluation.metrics import psnr

DATA = Path(os.environ.get("REBRIDGE_DATA", "data"))
FIFTHS = 5


def pictures(folder: Path, count: int, crop: int) -> list[Tensor]:
    """Read so many photographs, evenly spaced, their middles (1, 3, crop, crop) in [0, 1]."""
    files = image_files(folder)
    found = []
    for path in files[:: max(len(files) // count, 1)][:count]:
        image = read_stored(path).float() / 255
        top, left = ((side - crop) // 2 for side in image.shape[-2:])
        found.append(image[None, :, max(top, 0) :, max(left, 0) :][..., :crop, :crop].contiguous())
    return found


def degraded(clean: list[Tensor], task: str) -> Iterator[Tensor]:
    """Damage each with its own seed, rounded to 8 bits."""
    damage = degradations.create(task)
    for seed, image in enumerate(clean):
        yield (damage(image, torch.Generator().manual_seed(seed)) * 255).round() / 255


def correlation(a: Tensor, b: Tensor) -> float:
    """Correlate two sets of numbers."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1])


def uncertainty(errors: list[Tensor], deviations: list[Tensor]) -> dict[str, object]:
    """Compare errors of the mean and deviations of the samples, (1, 1, H, W) each."""
    error, deviation = (torch.cat([value.flatten() for value in values]) for values in (errors, deviations))
    smooth = [
        torch.cat([F.avg_pool2d(value, 5, 1, 2).flatten() for value in values]) for values in (errors, deviations)
    ]
    order = deviation.argsort().chunk(FIFTHS)
    rows = [
        {"deviation": float(deviation[part].square().mean().sqrt()), "error": float(error[part].square().mean().sqrt())}
        for part in order
    ]
    return {"correlation": correlation(*smooth), "by pixel": correlation(error, deviation), "fifths": rows}


def measure(restore: Restorer, clean: list[Tensor], task: str, options: argparse.Namespace) -> dict[str, object]:
    """Measure one kind of damage: rows by steps, and what several samples say."""
    damaged = list(degraded(clean, task))
    truth = statistics([features(image) for image in clean])

    def row(results: list[Tensor]) -> dict[str, float]:
        distance = frechet_distance(statistics([features(image) for image in results]), truth)
        quality = sum(float(psnr(a, b)) for a, b in zip(results, clean, strict=True)) / len(clean)
        return {"psnr": quality, "distance": distance}

    rows = {"degraded": row(damaged)}
    for steps in options.steps:
        rows[str(steps)] = row([restore(y, steps=steps, seed=0, sampler=options.sampler).clamp(0, 1) for y in damaged])
        print(task, steps, rows[str(steps)], flush=True)
    found: dict[str, object] = {"task": task, "rows": rows}
    if options.samples > 1:
        whole = {"name": "dbim", "texture": 1.0, "smooth": 0.0, "contrast": 1.0}
        drawn = [
            restore.sample(y, options.samples, steps=max(options.steps), keep=False, sampler=options.sampler or whole)
            for y in damaged[: options.sampled]
        ]
        errors = [(a.mean - b).abs().mean(1, keepdim=True) for a, b in zip(drawn, clean, strict=False)]
        found["samples"] = uncertainty(errors, [a.std.mean(1, keepdim=True) for a in drawn])
        print(task, found["samples"], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="rdbm-texture")
    parser.add_argument("--clean", type=Path, default=DATA / "eval/cbsd68")
    parser.add_argument("--tasks", nargs="+", default=["blur", "lowres", "noise", "jpeg"])
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--sampled", type=int, default=8, help="so many pictures are restored several times")
    parser.add_argument(
        "--sampler", help="as dbim:eta=1; by default the model's own, its samples with all of their texture"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    restore = Restorer.from_pretrained(options.model)
    clean = pictures(options.clean, options.count, options.crop)
    found = [measure(restore, clean, task, options) for task in options.tasks]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps({"model": options.model, "pictures": len(clean), "kinds": found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
