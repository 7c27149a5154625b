"""What a researcher has in hand: a restorer is moved and saved, a pipeline is a prior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rebridge import Restorer, bridges, networks
from rebridge.models import ModelError, load_prior
from rebridge.networks.catalogue import NETWORKS


def test_a_restorer_is_saved_with_its_sampler_and_read_again(tmp_path: Path) -> None:
    network = networks.create("fast", widths=[8, 8], blocks=[1], middle=1)
    restore = Restorer(network, bridges.create("goub"), {"name": "dbim", "steps": 3})
    assert restore.to("cpu") is restore
    again = Restorer.from_pretrained(restore.save_pretrained(tmp_path / "mine"), "cpu")
    assert again.sampler_config == {"name": "dbim", "steps": 3}
    image = torch.rand(3, 24, 32)
    assert torch.equal(again(image, seed=1), restore(image, seed=1))


class Mine(torch.nn.Module):
    """A network of a user, in no catalogue."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(6, width, 3, padding=1), torch.nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.cat([x, y], 1))


def test_a_network_of_ones_own_is_saved_with_its_class_and_loads_into_another_of_it(tmp_path: Path) -> None:
    restore = Restorer(Mine(5), bridges.create("rdbm"), {"name": "dbim", "steps": 2})
    folder = restore.save_pretrained(tmp_path / "mine")
    words = r"of the class '.*test_in_hand:Mine', .*: load it with network=Mine\(\.\.\.\), or register it"
    with pytest.raises(ModelError, match=words):
        Restorer.from_pretrained(folder, "cpu")
    image = torch.rand(3, 24, 32)
    assert torch.equal(Restorer.from_pretrained(folder, "cpu", network=Mine(5))(image), restore(image))
    with pytest.raises(ModelError, match="the network needs"):
        Restorer.from_pretrained(folder, "cpu", network=Mine(6))
    networks.register("Mine", lambda: Mine(5))
    try:
        assert torch.equal(Restorer.from_pretrained(folder, "cpu")(image), restore(image))
    finally:
        NETWORKS.unregister("Mine")


def test_a_restorer_on_another_bridge_is_not_saved(tmp_path: Path) -> None:
    network = networks.create("fast", widths=[8, 8], blocks=[1], middle=1)
    other = Restorer(Restorer(network, bridges.create("goub")).model, "ir-sde")
    with pytest.raises(ModelError, match="its own bridge"):
        other.save_pretrained(tmp_path / "mine")


def test_a_pipeline_in_hand_is_a_prior() -> None:
    diffusers: Any = pytest.importorskip("diffusers")
    unet = diffusers.UNet2DModel(
        sample_size=16,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=4,
    )
    prior = load_prior(diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()))
    assert prior.process.generative
