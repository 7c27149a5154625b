"""Inputs and outputs at addresses, with fsspec's own file systems in memory and on the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rebridge.cli import app
from rebridge.images.addresses import address_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def filled(system: Any, folder: str, names: tuple[str, ...]) -> None:
    system.makedirs(folder, exist_ok=True)
    for number, name in enumerate(names):
        picture = Image.fromarray(np.random.default_rng(number).integers(0, 256, (24, 20, 3), dtype=np.uint8))
        with system.open(f"{folder}/{name}", "wb") as file:
            picture.save(file, "PNG")


def restore(model: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["restore", *words, "--model", str(model), "--json"])


def test_pictures_in_memory_are_restored_as_those_on_the_disk(memory: Any, model: Path, tmp_path: Path) -> None:
    filled(memory, "/in", ("a.png", "b.png"))
    memory.makedirs("/in/below", exist_ok=True)
    filled(memory, "/in/below", ("c.png",))
    result = restore(model, "memory://in", "-o", "memory://out", "--recursive")
    assert result.exit_code == 0, result.output
    records = json.loads(result.stdout)
    outputs = (
        [record["output"] for record in records["results"]]
        if isinstance(records, dict)
        else [r["output"] for r in records]
    )
    assert outputs == ["memory://out/a.png", "memory://out/b.png", "memory://out/below/c.png"]
    assert sorted(memory.find("/out")) == ["/out/a.png", "/out/b.png", "/out/below/c.png"]
    (tmp_path / "a.png").write_bytes(memory.cat("/in/a.png"))
    restore(model, str(tmp_path / "a.png"), "-o", str(tmp_path / "here.png"))
    with memory.open("/out/a.png") as file:
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(Image.open(tmp_path / "here.png")))


def test_results_that_exist_are_refused_or_skipped(memory: Any, model: Path) -> None:
    filled(memory, "/in", ("a.png", "b.png"))
    assert restore(model, "memory://in/a.png", "-o", "memory://out").exit_code == 0
    before = memory.cat("/out/a.png")
    refused = restore(model, "memory://in", "-o", "memory://out")
    assert refused.exit_code == 1
    assert "memory://out/a.png: exists already" in refused.stdout
    assert memory.cat("/out/a.png") == before
    memory.rm("/out/b.png")
    skipped = restore(model, "memory://in/*.png", "-o", "memory://out", "--skip-existing")
    assert skipped.exit_code == 0
    assert sorted(memory.find("/out")) == ["/out/a.png", "/out/b.png"]


def test_addresses_of_the_disk_and_bad_ones(model: Path, tmp_path: Path) -> None:
    filled(fsspec.filesystem("file"), str(tmp_path / "in"), ("a.png",))
    result = restore(model, f"file://{tmp_path}/in/a.png", "-o", f"file://{tmp_path}/out/b.png")
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]
    for address, sentence in (("memory://nowhere", "no such file or folder"), ("nonsense://x", "cannot be opened")):
        result = restore(model, address, "-o", str(tmp_path / "out"))
        assert (result.exit_code, sentence in result.stderr) == (2, True)


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    words = ["-m", "rebridge.cli", "restore", "hf://datasets/me/x", "-o", str(tmp_path / "out"), "--model", "rdbm-tiny"]
    nobody = {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
    }
    ended = subprocess.run(
        [sys.executable, *words], env=os.environ | nobody, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
    assert "hf://datasets/me/x cannot be listed" in ended.stderr


def test_addresses_are_told_from_paths() -> None:
    assert address_of(Path("s3://bucket/photos")) == "s3://bucket/photos"
    assert address_of(Path("file:///data/in")) == "file:///data/in"
    assert address_of("hf://datasets/me/x") == "hf://datasets/me/x"
    for path in ("photos", "/data/photos", "C:/photos", "C:\\photos", "a:b.png", "-"):
        assert address_of(path) is None
