"""Restorers of spandrel: as a model of one step, and as the predictor of a refinement."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import rebridge
from rebridge import bridges, networks
from rebridge.denoisers import NetworkDenoiser
from rebridge.evaluation import psnr
from rebridge.models import ModelError, TrainedModel, load_model
from rebridge.networks.spandrel import SpandrelRestorer
from rebridge.training import load_config, train


@pytest.fixture
def spandrel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The real package; torchvision, of which two of its forty networks name a function, may be missing."""
    pytest.importorskip("einops")
    psnr(
        torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    )  # what it imports asks for torchvision, before there is a stand-in
    try:
        import torchvision  # noqa: F401
    except ImportError:
        functional = types.ModuleType("torchvision.transforms.functional")
        vars(functional).update(InterpolationMode=None, rotate=None, normalize=None)
        for name in ("torchvision", "torchvision.transforms"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, "torchvision.transforms.functional", functional)
    yield pytest.importorskip("spandrel")
    for name in [name for name in sys.modules if name.split(".")[0] == "spandrel"]:
        del sys.modules[name]


def nafnet(folder: Path) -> tuple[Any, Path]:
    """A NAFNet with random weights, and its file in BasicSR's layout."""
    from spandrel.architectures.NAFNet import NAFNet

    torch.manual_seed(0)
    network = NAFNet(width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    torch.save({"params": network.state_dict()}, folder / "NAFNet.pth")
    return network, folder / "NAFNet.pth"


def picture(height: int = 30, width: int = 41) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_a_restorer_is_a_model_of_one_step(spandrel: Any, tmp_path: Path) -> None:
    network, path = nafnet(tmp_path)
    model = load_model(path, family="spandrel", device="cpu")
    assert model.info.sampler == {"name": "dbim", "steps": 1}
    with torch.no_grad():
        expected = network(picture(32, 44)).clamp(0, 1)
    found = rebridge.Restorer(model)(picture(32, 44))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(rebridge.Restorer.from_pretrained(path, device="cpu")(picture(32, 44)), found)
    assert rebridge.Restorer(model)(picture()).shape == picture().shape


def test_an_enlarger_restores_at_the_size_of_the_picture(spandrel: Any, tmp_path: Path) -> None:
    from spandrel.architectures.Compact import Compact

    torch.save(Compact(num_feat=8, num_conv=2, upscale=4).state_dict(), tmp_path / "compact.pth")
    found = rebridge.Restorer.from_pretrained(tmp_path / "compact.pth", device="cpu")(picture())
    assert found.shape == picture().shape
    assert found.isfinite().all()


def test_a_refinement_starts_from_its_result(spandrel: Any, tmp_path: Path) -> None:
    _, path = nafnet(tmp_path)
    process = bridges.create("goub")
    predictor = NetworkDenoiser(SpandrelRestorer(str(path), process.value_range), process, "residual").eval()
    refining = networks.create("fast", widths=(4, 8), blocks=(1,), middle=1, embedding=8)
    model = TrainedModel.of(refining, process, "residual", predictor=predictor)
    alone = rebridge.Restorer.from_pretrained(path, device="cpu")(picture())
    torch.testing.assert_close(rebridge.Restorer(model).prediction(picture()), alone, rtol=0, atol=1e-5)
    expected = rebridge.Restorer(model)(picture(), steps=2)
    again = load_model(model.save_pretrained(tmp_path / "model"), device="cpu")
    assert torch.equal(rebridge.Restorer(again)(picture(), steps=2), expected)


def test_a_refinement_of_a_restorer_is_trained(spandrel: Any, tmp_path: Path) -> None:
    _, path = nafnet(tmp_path)
    (tmp_path / "photographs").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photographs" / f"{number}.png")
    places = [f"data.clean={tmp_path / 'photographs'}", "data.holdout=2", f"output={tmp_path / 'run'}"]
    config = load_config(
        Path(__file__).parents[2] / "configs" / "tiny.yaml",
        [
            *places,
            "bridge={name: goub}",
            "optimisation.iterations=2",
            "optimisation.batch=2",
            f"predictor={{spandrel: {path}}}",
        ],
    )
    folder: Any = train(config).model
    restored = rebridge.Restorer.from_pretrained(folder, device="cpu")(picture(), steps=1)
    assert restored.shape == picture().shape


def test_without_spandrel_a_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    torch.save({"intro.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"pip install 'rebridge\[spandrel\]'"):
        load_model(tmp_path / "a.pth", family="spandrel")
    with pytest.raises(ModelError, match="of no family known here"):
        load_model(tmp_path / "a.pth")
