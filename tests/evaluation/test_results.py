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
from rebridge.evaluation.results import result_cases


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
    command = ["evaluate", "--truth", str(folders / "clean"), "--results", str(folders / "out"), "--json"]
    for words in ([], ["--suffix", "_out"]):
        result = CliRunner().invoke(app, [*command, *words])
        assert result.exit_code == 0, result.output
        images = json.loads(result.stdout)["images"]
        expected = [
            float(psnr(pixels(folders / f"out/{n}_out.png"), pixels(folders / f"clean/{n}.png"))) for n in (0, 2)
        ]
        assert [image["psnr"] for image in images] == pytest.approx(expected)
        assert [image["name"] for image in images] == ["0", "2"]
        assert "1 true images have no result" in result.stderr


def test_with_pairs_the_gain_is_known(folders: Path) -> None:
    command = ["evaluate", "--pairs", str(folders), "--results", str(folders / "out"), "--json"]
    command += ["--border", "2"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    images = json.loads(result.stdout)["images"]
    for key, place in {"input_psnr": "degraded/{}.png", "psnr": "out/{}_out.png"}.items():
        pairs = [(folders / place.format(n), folders / f"clean/{n}.png") for n in range(3)]
        cut = [[pixels(path)[..., 2:-2, 2:-2] for path in pair] for pair in pairs]
        expected = [float(psnr(shown, clean)) for shown, clean in cut]
        assert [image[key] for image in images] == pytest.approx(expected)


def test_what_fits_no_clean_image_or_has_another_size_is_named(folders: Path) -> None:
    command = ["evaluate", "--truth", str(folders / "clean"), "--results", str(folders / "out")]
    (folders / "out" / "0_out.png").rename(folders / "out" / "boat.png")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "boat.png has no true image of that name" in " ".join(result.stderr.split())
    Image.new("RGB", (10, 10)).save(folders / "out" / "0.png")
    (folders / "out" / "boat.png").unlink()
    result = CliRunner().invoke(app, command)
    assert "0: the result and the true image differ in size, 10x10 and 20x24" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--model", "rdbm-tiny"], ["--seed", "1"], ["--samples", "2"], ["--steps", "3"], ["--tile", "64"], ["--no-harm"],
        ["--baselines"], ["--sampler", "ode"], ["--task", "rain"], ["--clean", "."], ["--dtype", "bfloat16"],
    ],
)  # fmt: skip
def test_what_would_do_nothing_is_refused(folders: Path, words: list[str]) -> None:
    command = ["evaluate", "--truth", str(folders / "clean"), "--results", str(folders / "out"), *words]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert f"{words[0]} is of no use with --results" in " ".join(result.stderr.split())


def test_two_results_of_one_image_are_named(folders: Path) -> None:
    Image.new("RGB", (20, 24)).save(folders / "out" / "0_x2.png")
    with pytest.raises(ValueError, match=r"0_out\.png and .*0_x2\.png are both results of 0\.png"):
        result_cases(folders / "out", folders / "clean")


@given(
    st.lists(st.text("ab12", min_size=1, max_size=4), min_size=1, max_size=6, unique=True),
    st.sampled_from(["", "_x", ".x2"]),
)
def test_every_name_finds_its_own_clean_image(
    tmp_path_factory: pytest.TempPathFactory, stems: list[str], ending: str
) -> None:
    root = tmp_path_factory.mktemp("results")
    for folder, behind, kind in (("truth", "", "jpg"), ("out", ending, "png")):
        (root / folder).mkdir()
        for stem in stems:
            (root / folder / f"{stem}{behind}.{kind}").touch()
    cases, without = result_cases(root / "out", root / "truth")
    assert sorted(case.name for case in cases) == sorted(stems)
    assert without == 0
