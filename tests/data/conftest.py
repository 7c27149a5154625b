"""Making small image files."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """draw(path, width, height, mode): write a random image below `tmp_path`; returns its path."""

    def make(path: str, width: int = 24, height: int = 20, mode: str = "RGB") -> Path:
        shape = (height, width, 3) if mode == "RGB" else (height, width)
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(zlib.crc32(path.encode())).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(file)
        return file

    return make
