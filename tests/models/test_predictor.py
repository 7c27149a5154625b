"""Model folders with a predictor: what is saved is what is loaded, broken ones get one sentence, the command line shows it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

import rebridge
from rebridge import bridges, networks
from rebridge.cli import app
from rebridge.denoisers import NetworkDenoiser
from rebridge.models import ModelError, TrainedModel, load_model


def small(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = networks.create("fast", widths=(8, 8), blocks=(1,), middle=1, embedding=8)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.05)
    return network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bridge = bridges.create("goub")
    predictor = NetworkDenoiser(small(1), bridge, "residual").eval()
    sampler = {"name": "dbim", "steps": 2}
    options: dict[str, Any] = {"sampler": sampler, "tasks": ["blur"], "predictor": predictor}
    model = TrainedModel.of(small(0), bridge, "preconditioned", scale=0.05, **options)
    return model.save_pretrained(tmp_path / "m")


def rewrite(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_both_networks_and_the_scale_come_back(folder: Path) -> None:
    model: Any = load_model(folder)
    assert model.predictor is not None
    assert model.denoiser.scale == 0.05
    for loaded, saved in ((model.network, small(0)), (model.predictor.network, small(1))):
        for a, b in zip(loaded.parameters(), saved.parameters(), strict=True):
            assert torch.equal(a, b)
    assert not model.predictor.training
    assert "the bridge starts from" in model.card()


def test_a_model_without_a_predictor_starts_from_the_image_itself(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(
        {key: value for key, value in weights.items() if not key.startswith("predictor.")}, folder / "model.safetensors"
    )
    checksum = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    rewrite(folder, predictor=None, sha256=checksum)
    restore = rebridge.Restorer.from_pretrained(folder)
    assert restore.model.predictor is None
    with pytest.raises(ValueError, match="the model has no predictor"):
        restore.prediction(torch.rand(1, 3, 8, 8))


def test_missing_weights_of_the_predictor_are_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["predictor.tail.bias"]
    save_file(weights, folder / "model.safetensors")
    rewrite(folder, sha256=None)
    with pytest.raises(ModelError, match=r"lacks weight 'predictor\.tail\.bias'"):
        load_model(folder)


def test_a_predictor_without_a_name_is_named(folder: Path) -> None:
    rewrite(folder, predictor={"network": {}})
    with pytest.raises(ModelError, match="'predictor' lacks a network with a name"):
        load_model(folder)


def test_the_predictor_is_evaluated_once_per_image_however_many_samples(folder: Path) -> None:
    restore = rebridge.Restorer.from_pretrained(folder)
    calls: list[str] = []
    model: Any = restore.model
    networks_of = {"predictor": model.predictor_network, "network": model.network}
    for name, network in networks_of.items():
        network.register_forward_hook(lambda module, inputs, output, name=name: calls.append(name))
    restore(torch.rand(1, 3, 20, 20), samples=3, steps=2)
    assert calls.count("predictor") == 1
    assert calls.count("network") == 6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_grey_and_16_bit_images_go_through_as_with_any_model(folder: Path, dtype: str) -> None:
    restore = rebridge.Restorer.from_pretrained(folder, dtype=dtype)
    grey = torch.rand(1, 1, 33, 21)
    assert restore(grey).shape == grey.shape
    pixels = (torch.rand(19, 23, 3) * 65535).numpy().astype("uint16")
    assert restore(pixels).dtype == pixels.dtype


def test_the_command_line_shows_what_the_bridge_starts_from(folder: Path) -> None:
    result = CliRunner().invoke(app, ["info", str(folder)])
    assert result.exit_code == 0
    assert "starts from" in result.output
