"""How well a prior denoises without a condition: what it is worth in solvers is decided there.

    export REBRIDGE_DATA=data
    python benchmarks/prior.py --model pixel-prior-small --model pixel-prior-tiny --write docs/tables/prior.json

PSNR in dB on CBSD68 of the prior's one estimate from an image with white noise, by the noise's standard deviation of 255; beside
it OpenCV's non-local means, which is told the noise.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from rebridge.data import ImageFolder
from rebridge.models import Model, load_prior
from rebridge.training.timesteps import times_of_noise

DATA = Path(os.environ.get("REBRIDGE_DATA", "data"))
LEVELS = (5.0, 15.0, 25.0, 50.0)


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of images in [0, 1], of which a is clipped."""
    return -10 * math.log10(float((a.clamp(0, 1) - b).square().mean()))


@torch.no_grad()
def estimate(prior: Model, clean: Tensor, noise: Tensor, level: float) -> Tensor:
    """The prior's estimate (C, H, W) of an image (C, H, W) in [0, 1] that bears noise of `level` of 255."""
    time = times_of_noise(prior.process, torch.tensor([level], dtype=torch.float64))
    x0 = prior.space.encode(clean[None])
    nothing = torch.zeros_like(x0)
    state = prior.process.forward(x0, nothing, time, noise[None])
    found = prior.given(None)(state, time, nothing)
    return prior.space.decode(found if isinstance(found, Tensor) else found.x0, (clean.shape[1], clean.shape[2]))[0]


def non_local_means(noisy: Tensor, level: float) -> Tensor:
    """OpenCV's for colour, at the strength that serves it best."""
    strength = 0.6 * level
    pixels = (noisy.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    filtered = cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(pixels), None, strength, strength, 7, 21)
    return torch.from_numpy(filtered).permute(2, 0, 1).float() / 255


def main() -> None:
    """Print the table, and write it where asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--images", type=Path, default=DATA / "eval/cbsd68")
    parser.add_argument("--count", type=int, help="only so many images")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    images = ImageFolder(options.images)
    count = min(options.count or len(images), len(images))
    methods = {name: load_prior(name) for name in options.model}
    table: dict[str, dict[str, float]] = {name: {} for name in [*methods, "non-local means"]}
    print(f"{count} images; PSNR in dB at noise of {', '.join(f'{level:g}' for level in LEVELS)} of 255")
    for level in LEVELS:
        sums = dict.fromkeys(table, 0.0)
        for index in range(count):
            clean = images[index]
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(index))
            noisy = clean + level / 255 * noise
            for name, prior in methods.items():
                sums[name] += psnr(estimate(prior, clean, noise, level), clean)
            sums["non-local means"] += psnr(non_local_means(noisy, level), clean)
        for name, total in sums.items():
            table[name][f"{level:g}"] = round(total / count, 3)
    for name, row in table.items():
        print(f"{name:24s}" + "".join(f"{value:8.2f}" for value in row.values()))
    if options.write:
        options.write.write_text(json.dumps({"images": count, "levels": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
