"""Compiled blocks: the same pixels at every size, compiled once, and only where a batch repays it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from rebridge import bridges, networks
from rebridge.commands.opening import Opened
from rebridge.commands.options import RestoreOptions
from rebridge.commands.restore import restore
from rebridge.denoisers.machine import physical_cores
from rebridge.images import Image, read_image, write_image
from rebridge.models import TrainedModel, compiling, speed
from rebridge.models.compiling import Compiled, blocks_of, compile_if_repaid, compile_now
from rebridge.restoration import Restorer

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


class Block(nn.Module):
    """A residual block of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return h + torch.tanh(self.look(h))


class Blocks(nn.Module):
    """A network of two equal blocks."""

    channels = 3

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        changed: Tensor = self.blocks(y.contiguous(memory_format=torch.channels_last)) - y
        return changed


WITHOUT_COMPILER = """
from rebridge.models import load_model
from rebridge.models.compiling import blocks_of
model = load_model("rdbm-tiny", device="cpu", compile=True)
print("plain" if all(block._compiled_call_impl is None for block in blocks_of(model.network)) else "compiled")
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled code, which the tests share as processes do."""
    return tmp_path_factory.mktemp("code")


@pytest.fixture(autouse=True)
def folder(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(speed.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(compiling.CODE_VARIABLE, str(code))
    torch.compiler.reset()
    return tmp_path


def model_of(**options: Any) -> TrainedModel:
    return TrainedModel.of(
        Blocks(), bridges.create("rdbm"), "residual", sampler={"name": "dbim", "steps": 1}, **options
    )


def is_compiled(model: TrainedModel) -> bool:
    return all(block._compiled_call_impl is not None for block in blocks_of(model.network))


@pytest.mark.parametrize(
    ("measured", "pixels", "repaid"),
    [
        (Compiled(2e-6, 1e-6, 20.0, 0.0), 2.1e7, True),
        (Compiled(2e-6, 1e-6, 20.0, 0.0), 1.9e7, False),
        (Compiled(1e-6, 0.99e-6, 20.0, 0.0), 1e12, False),
        (Compiled(1e-6, 2e-6, 0.0, 0.0), 1e12, False),
        (Compiled(2e-6, 1e-6, 20.0, 0.9 / 255), 1e12, False),
        (Compiled(2e-6, 1e-6, 20.0, float("nan")), 1e12, False),
    ],
)
def test_a_batch_repays_what_it_saves_more_than_loading_takes(measured: Compiled, pixels: float, repaid: bool) -> None:
    assert measured.repays(pixels) == repaid


def test_the_innermost_repeated_blocks_are_compiled_and_a_network_without_any_as_a_whole() -> None:
    fast = networks.create("fast", widths=[4, 8], blocks=[2], middle=1)
    assert [type(block).__name__ for block in blocks_of(fast)] == [
        "GatedBlock",
        "GatedBlock",
        "WideBlock",
        "GatedBlock",
        "GatedBlock",
    ]
    alone = Block()
    assert blocks_of(alone) == [alone]


def test_a_small_batch_is_never_measured_and_what_is_remembered_decides(folder: Path) -> None:
    model = model_of()
    assert not compile_if_repaid(model, 512 * 512)
    assert not compile_if_repaid(model, compiling.FEWEST_PIXELS)  # some seconds of work
    assert not (folder / "cache").exists()
    path = compiling.record_of(model)
    path.parent.mkdir()
    path.write_text(json.dumps({"format": speed.CACHE_FORMAT, **asdict(Compiled(1e-5, 1e-5, 1.0, 0.0))}))
    assert not compile_if_repaid(model, 1e15)
    assert not is_compiled(model)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "plain": 0, "compiled": 1, "loading": 1, "change": 0}']
)
def test_a_broken_record_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(text)
    assert compiling.compiled_before(tmp_path / "record.json") is None


@needs_compiler
def test_pictures_of_any_size_are_compiled_for_once_and_come_out_the_same(code: Path) -> None:
    plain, model = model_of(), model_of(compile=True)
    assert is_compiled(model)
    assert list(code.iterdir())
    graphs = counters["stats"]["unique_graphs"]
    for height, width in ((90, 96), (100, 100), (77, 133), (256, 90)):
        y = torch.rand(1, 3, height, width) * 2 - 1
        with torch.no_grad():
            assert (model.network(y, torch.ones(1), y) - plain.network(y, torch.ones(1), y)).abs().max() < 1e-5
    assert counters["stats"]["unique_graphs"] == graphs
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.network.state_dict().values(), plain.network.state_dict().values(), strict=True)
    )


@needs_compiler
def test_a_measured_network_is_remembered_and_stays_compiled_only_if_that_is_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiling, "WORTH_MEASURING", 0.0)
    model = model_of()
    chosen = compile_if_repaid(model, compiling.FEWEST_PIXELS)
    found = compiling.compiled_before(compiling.record_of(model))
    assert found is not None
    assert chosen == found.faster == is_compiled(model)
    assert found.change < 1e-5


def test_without_a_compiler_the_network_goes_on_with_one_sentence(tmp_path: Path) -> None:
    place = {compiling.CODE_VARIABLE: str(tmp_path / "no-code"), "CXX": "no-such-compiler", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **place},
    )
    assert ended.stdout.split() == ["plain"]
    assert ended.stderr.count("goes on without torch.compile") == 1
    assert "Traceback" not in ended.stderr


@needs_compiler
def test_a_folder_that_repays_it_is_restored_by_compiled_code_and_nothing_is_compiled_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plain = model_of(), model_of()
    monkeypatch.setattr(compiling, "FEWEST_PIXELS", 0)
    (tmp_path / "in").mkdir()
    sizes = [(90, 96), (100, 120), (33, 20), (1, 70)]
    for number, (height, width) in enumerate(sizes):
        write_image(tmp_path / "in" / f"{number}.png", Image(torch.rand(3, height, width)))
    torch.set_num_threads(1)
    path = compiling.record_of(model)
    path.parent.mkdir()
    path.write_text(json.dumps({"format": speed.CACHE_FORMAT, **asdict(Compiled(1.0, 0.1, 1.0, 0.0))}))
    options = RestoreOptions(inputs=[tmp_path / "in"], output=tmp_path / "out", jobs=physical_cores())
    assert compile_now(model_of())
    counters.clear()
    result = restore(options, opened=Opened(Restorer(model), "blocks"))
    assert [one.error for one in result.results] == [None] * len(sizes)
    assert is_compiled(model)
    assert counters["stats"]["unique_graphs"] == 0
    for number in range(len(sizes)):
        exact = Restorer(plain)(read_image(tmp_path / "in" / f"{number}.png"))
        restored = read_image(tmp_path / "out" / f"{number}.png")
        assert (restored.pixels - exact.pixels).abs().max() <= 1 / 255
