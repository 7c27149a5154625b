"""Results of any tool in a folder: matched to the clean images by name, measured as a model's results are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from rebridge.cli import app
from rebridge.evaluation import psnr
from rebridge.evaluation.results import matched


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for folder in ("clean", "degraded", "out"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        clean = random.integers(30, 220, (24, 20, 3))
        Image.fromarray(clean.astype(np.uint8)).save(tmp_path / f"clean/{number}.png")
        for folder, level, ending in (("degraded", 20, ".png"), ("out", 5 + number, "_out.png")):
            noisy = np.clip(clean + random.normal(0, level, clean.shape), 0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(tmp_path / folder / f"{number}{ending}")
    return tmp_path


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path))).permute(2, 0, 1)[None] / 255


def test_results_with_a_suffix_are_measured_and_missing_ones_said(folders: Path) -> None:
    (folders / "out" / "1_out.png").unlink()
    command = ["evaluate", "--clean", str(folders / "clean"), "--restored", str(folders / "out"), "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    images = json.loads(result.stdout)["images"]
    expected = [float(psnr(pixels(folders / f"out/{n}_out.png"), pixels(folders / f"clean/{n}.png"))) for n in (0, 2)]
    assert [image["psnr"] for image in images] == pytest.approx(expected)
    assert [image["input_psnr"] for image in images] == [None, None]
    assert "1 of 3 clean images have no result" in result.stderr


def test_with_pairs_the_gain_is_known(folders: Path) -> None:
    command = ["evaluate", "--pairs", str(folders), "--restored", str(folders / "out"), "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    before = [float(psnr(pixels(folders / f"degraded/{n}.png"), pixels(folders / f"clean/{n}.png"))) for n in range(3)]
    assert [image["input_psnr"] for image in json.loads(result.stdout)["images"]] == pytest.approx(before)


def test_what_fits_no_clean_image_or_has_another_size_is_named(folders: Path) -> None:
    command = ["evaluate", "--clean", str(folders / "clean"), "--restored", str(folders / "out")]
    (folders / "out" / "0_out.png").rename(folders / "out" / "boat.png")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "boat.png is a result of no clean image" in result.stderr
    Image.new("RGB", (10, 10)).save(folders / "out" / "0.png")
    (folders / "out" / "boat.png").unlink()
    result = CliRunner().invoke(app, command)
    assert "0.png is 10x10, and its clean image" in result.stderr
    assert CliRunner().invoke(app, [*command, "--model", "rdbm-tiny"]).exit_code == 2


@given(
    st.lists(st.text("ab12", min_size=1, max_size=4), min_size=1, max_size=6, unique=True),
    st.sampled_from(["", "_x", ".x2"]),
)
def test_every_name_finds_its_own_clean_image(
    tmp_path_factory: pytest.TempPathFactory, stems: list[str], ending: str
) -> None:
    folder = tmp_path_factory.mktemp("results")
    for stem in stems:
        (folder / f"{stem}{ending}.png").touch()
    found = matched(folder, [f"{stem}.jpg" for stem in stems])
    assert {name: path.name for name, path in found.items()} == {f"{s}.jpg": f"{s}{ending}.png" for s in stems}
