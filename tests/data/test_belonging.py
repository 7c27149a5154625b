"""Pairs that do not belong together are found and named, and degraded ones that do are not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from rebridge import degradations
from rebridge.data.belonging import UNRELATED, likeness
from rebridge.training.config import DataConfig
from rebridge.training.data import training_pairs


def scene(seed: int, size: tuple[int, int] = (96, 120)) -> Tensor:
    """Shapes of random places, sizes and colours."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.full((3, *size), 0.5)
    for _ in range(40):
        top, left = random.uniform(0, size[0]), random.uniform(0, size[1])
        inside = ((rows - top) / random.uniform(4, 30)) ** 2 + ((columns - left) / random.uniform(4, 30)) ** 2 < 1
        image[:, inside] = random.uniform(0, 1, (3, 1))
    return torch.from_numpy(image).float()


@given(st.integers(0, 10_000), st.sampled_from([name for name in degradations.names() if not name.startswith("low")]))
def test_degraded_scenes_belong_to_their_own_and_not_to_another(seed: int, task: str) -> None:
    upsample: dict[str, Any] = {"upsample": True} if degradations.create(task).resizes else {}
    clean, generator = scene(seed), torch.Generator().manual_seed(seed)
    degraded = degradations.create(task, **upsample)(clean[None], generator=generator)[0]
    assert likeness(clean, degraded) > UNRELATED
    assert likeness(scene(seed + 20_000), degraded) < likeness(clean, degraded)


@given(st.integers(0, 10_000), st.integers(-8, 8), st.integers(-8, 8))
def test_a_shift_and_another_brightness_change_little(seed: int, down: int, right: int) -> None:
    clean = scene(seed)
    assert likeness(clean, 0.2 + 0.3 * clean.roll((down, right), (1, 2))) > 0.6


def test_images_without_structure_belong_to_anything() -> None:
    assert likeness(torch.zeros(3, 20, 20), scene(0, (20, 20))) == 1
    assert likeness(torch.zeros(3, 1, 1), torch.ones(3, 1, 1)) == 1


def test_exchanged_pairs_are_named_and_others_not(tmp_path: Path) -> None:
    for folder in ("clean", "degraded"):
        (tmp_path / folder).mkdir()
    for number in range(6):
        image = scene(number)
        other = scene({2: 3, 3: 2}.get(number, number))
        for folder, pixels in (("clean", image), ("degraded", (other + 0.1 * torch.randn(other.shape)).clamp(0, 1))):
            array = np.uint8(255 * pixels.permute(1, 2, 0).numpy())
            Image.fromarray(array).save(tmp_path / folder / f"{number}.png")
    tree = {"pairs": [{"task": "real", "clean": tmp_path / "clean", "degraded": tmp_path / "degraded"}], "patch": 16}
    with pytest.warns(UserWarning, match=r"data\.pairs\.0: 2 of 6 pairs do not seem to belong together") as caught:
        training_pairs(DataConfig.model_validate(tree), 0)
    said = str(caught[0].message)
    assert [f"clean/{number}.png" in said for number in range(6)] == [False, False, True, True, False, False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training_pairs(DataConfig.model_validate(tree | {"check_pairs": False}), 0)
