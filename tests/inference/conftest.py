"""A tiny untrained model, saved and loaded as a user's would be."""

from pathlib import Path

import pytest
import torch
from torch import nn

from rebridge import bridges, networks
from rebridge.models import save_model
from rebridge.restoration import Restorer


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = networks.create("fast", widths=(8, 8), blocks=(1,), middle=1, embedding=8)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    sampler = {"name": "dbim", "steps": 3, "eta": 1.0, "start": "noise"}
    return save_model(folder, network, bridges.create("rdbm", lam=0.5), "residual", sampler, ["rain"])


@pytest.fixture(scope="session")
def restore(model_folder: Path) -> Restorer:
    return Restorer.from_pretrained(model_folder, device="cpu")
