"""Tiny untrained models, saved and loaded as a user's would be, and a photograph-like image."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rebridge import Restorer, bridges, networks
from rebridge.models import TrainedModel

SMALL = {"widths": [4, 8], "blocks": [1], "middle": 1, "embedding": 8}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = networks.create("fast", widths=(8, 8), blocks=(1,), middle=1, embedding=8)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    sampler = {"name": "dbim", "steps": 3, "eta": 1.0, "start": "noise"}
    model = TrainedModel.of(network, bridges.create("rdbm", lam=0.5), "residual", sampler=sampler, tasks=["rain"])
    return model.save_pretrained(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def restore(model_folder: Path) -> Restorer:
    return Restorer.from_pretrained(model_folder, device="cpu")


@pytest.fixture(scope="session")
def pixel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder on the vp process whose network works with and without condition."""
    torch.manual_seed(0)
    network = networks.create("fast", optional_condition=True, **SMALL)
    tail = network.tail
    assert isinstance(tail, nn.Conv2d)
    nn.init.normal_(tail.weight, std=0.1)
    sampler = {"name": "dbim", "steps": 25}
    model = TrainedModel.of(network, bridges.create("vp"), "preconditioned", sampler=sampler, tasks=["rain"])
    return model.save_pretrained(tmp_path_factory.mktemp("priors") / "pixel")


@pytest.fixture(scope="session")
def picture() -> Tensor:
    """(1, 3, 40, 48) in [0, 1], smooth."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(rows / (4 + k)) * torch.cos(columns / 7 - k) for k in range(3)])[None]
