"""Tiny untrained models in folders, a photograph-like image, and the program itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from rebridge import bridges, networks
from rebridge.models import TrainedModel
from tests.restoration.conftest import picture, pixel_folder

__all__ = ["picture", "pixel_folder"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny untrained model that does change images."""
    torch.manual_seed(0)
    network = networks.create("fast", widths=[8, 16], blocks=[1], middle=1, embedding=16)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    sampler = {"name": "dbim", "steps": 3, "eta": 1.0, "start": "mean"}
    found = TrainedModel.of(network, bridges.create("goub", lam=0.4), sampler=sampler, tasks=["rain", "noise"])
    return found.save_pretrained(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def photo(picture: Tensor, tmp_path: Path) -> Path:
    """A file of 48 x 40 px in a folder of its own."""
    path = tmp_path / "rainy" / "rainy.png"
    path.parent.mkdir()
    Image.fromarray((255 * picture[0]).permute(1, 2, 0).byte().numpy()).save(path)
    return path


def saved(path: Path, seed: int = 0, size: tuple[int, int] = (40, 32)) -> Path:
    """A smooth picture of (width, height) pixels, different for each seed."""
    phase = np.random.default_rng(seed).uniform(0, 6, (3, 1, 1))
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]] / 8
    pixels = 127 + 100 * np.sin(rows + phase) * np.cos(columns + phase)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.transpose(1, 2, 0).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two pictures, one below it, and a file that is no image."""
    folder = tmp_path / "photos"
    saved(folder / "a.png", 1)
    saved(folder / "b.jpg", 2, (33, 47))
    saved(folder / "deep" / "c.png", 3)
    (folder / "notes.txt").write_text("not an image")
    return folder
