"""A small folder of clean images and the tiny configuration that trains on it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rebridge.training import TrainConfig, load_config

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six smooth colour images of 40x48 pixels."""
    folder = tmp_path_factory.mktemp("photographs")
    rows, columns = np.mgrid[0:40, 0:48]
    for number in range(6):
        phases = np.arange(3) + number
        waves = np.sin(rows[..., None] / (3 + number) + phases) * np.cos(columns[..., None] / 7 - phases)
        Image.fromarray(np.uint8(127.5 + 120 * waves)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def tiny(photographs: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """The tiny configuration on those images, with overrides; output in `tmp_path/run` unless told otherwise."""

    def make(*overrides: str) -> TrainConfig:
        return load_config(
            TINY, [f"data.clean={photographs}", "data.holdout=2", f"output={tmp_path / 'run'}", *overrides]
        )

    return make
