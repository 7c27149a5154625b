"""A tiny untrained pixel prior in a folder, and a photograph-like image."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rebridge import bridges, hub, networks

SMALL = {"widths": [4, 8], "blocks": [1], "middle": 1, "embedding": 8}


@pytest.fixture(scope="session")
def pixel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder on the vp process whose network works with and without condition."""
    torch.manual_seed(0)
    network = networks.create("fast", optional_condition=True, **SMALL)
    torch.nn.init.normal_(network.tail.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    folder = tmp_path_factory.mktemp("priors") / "pixel"
    sampler = {"name": "dbim", "steps": 25}
    return hub.save_model(folder, network, bridges.create("vp"), "preconditioned", sampler, ["rain"])


@pytest.fixture(scope="session")
def picture() -> Tensor:
    """(1, 3, 40, 48) in [0, 1], smooth."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(rows / (4 + k)) * torch.cos(columns / 7 - k) for k in range(3)])[None]
