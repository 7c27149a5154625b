"""The degraded inputs are as hard as those of the field's data sets.

Measured on the 68 images of CBSD68 where they are present ($REBRIDGE_DATA beside the project), and always on
generated images of dead leaves: opaque discs of power-law sizes, which share the contrast, the edges and the spectrum
of photographs (Lee, Mumford and Huang, 2001). Their numbers are close to those of photographs, not equal.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from rebridge.degradations import create

PHOTOGRAPHS = Path(__file__).parents[2].parent / "shared" / "data" / "eval" / "cbsd68"

INPUT_PSNR = {
    "rain": (21.0, 25.0),
    "haze": (12.0, 18.0),
    "snow": (18.0, 23.0),
    "lowlight": (8.0, 14.0),
    "blur": (22.0, 27.0),
    "noise": (20.2, 20.65),
}


def mean_input_psnr(task: str, images: list[Tensor]) -> float:
    generator = torch.Generator().manual_seed(0)
    degraded = [create(task)(image, generator) for image in images]
    errors = [float((y - x).square().mean()) for x, y in zip(images, degraded, strict=True)]
    return float(np.mean([-10 * np.log10(error) for error in errors]))


@cache
def photographs() -> list[Tensor]:
    pictures = [np.array(Image.open(path).convert("RGB")) for path in sorted(PHOTOGRAPHS.iterdir())]
    return [torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255 for pixels in pictures]


@cache
def dead_leaves() -> list[Tensor]:
    return [leaves(np.random.default_rng(seed)) for seed in range(24)]


def leaves(rng: np.random.Generator, size: int = 192) -> Tensor:
    image = np.full((3, size, size), 0.4, dtype=np.float32)
    rows, columns = np.mgrid[:size, :size]
    tone = rng.uniform(0.25, 0.6)
    for radius in np.sort(10 * (1 - rng.random(150)) ** -0.8)[::-1].clip(max=130):
        y, x = rng.uniform(0, size, 2)
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        colour = tone + rng.normal(0, 0.17) + rng.normal(0, 0.06, 3)
        image[:, inside] = colour[:, None].astype(np.float32)
    texture = rng.normal(0, 0.02, image.shape).astype(np.float32)
    return torch.from_numpy((image + texture).clip(0, 1))[None]


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="CBSD68 is not in $REBRIDGE_DATA; dead leaves are checked instead")
@pytest.mark.parametrize("task", list(INPUT_PSNR))
def test_photographs_are_as_hard_as_those_of_the_field(task: str) -> None:
    low, high = INPUT_PSNR[task]
    assert low <= mean_input_psnr(task, photographs()) <= high


@pytest.mark.parametrize("task", list(INPUT_PSNR))
def test_dead_leaves_are_as_hard_as_photographs_of_the_field(task: str) -> None:
    low, high = INPUT_PSNR[task]
    assert low <= mean_input_psnr(task, dead_leaves()) <= high
