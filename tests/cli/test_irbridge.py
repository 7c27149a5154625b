"""Priors on the command line: restoring, measuring, and what is said to impossible wishes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from rebridge.cli import app


def rebridge(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--preset", "paper", "--task", "rain"),
        ("--bridge", "goub:lam=0.02", "--schedule", "linear-550", "--detail", "0.5"),
        ("--sampler", "ddim"),
        ("--sampler", "sdedit"),
        ("--sampler", "dbim", "--bridge", "brownian"),
    ],
    ids=lambda options: " ".join(options) or "sound",
)
def test_restore_writes_an_image_restored_by_the_prior(
    photo: Path, pixel_folder: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    out = tmp_path / "restored.png"
    words = ("restore", photo, "-o", out, "--method", "irbridge", "--model", pixel_folder, "--steps", 3)
    result = rebridge(*words, *options)
    assert result.exit_code == 0, result.output
    assert np.asarray(Image.open(out)).shape == (40, 48, 3)


def test_evaluate_measures_a_prior_task_by_task(photo: Path, pixel_folder: Path) -> None:
    words = ("evaluate", "--method", "irbridge", "--model", pixel_folder, "--preset", "paper", "--steps", 3)
    result = rebridge(*words, "--clean", photo.parent, "-t", "rain", "-t", "lowlight", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert [row["task"] for row in figures["tasks"]] == ["rain", "lowlight"]
    assert figures["sampler"] == "irbridge"


def test_compare_sets_the_bridge_beside_the_same_prior_without_one(
    photo: Path, pixel_folder: Path, tmp_path: Path
) -> None:
    words = ("compare", "--method", "irbridge", "--model", pixel_folder, "--clean", photo.parent, "-t", "rain")
    options = ("--preset", "sound", "--preset", "paper", "--steps", "2,3", "--seeds", "0", "-o", tmp_path / "figures")
    result = rebridge(*words, *options, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout[result.stdout.index("[\n") :])
    assert {(row["subject"].rpartition(" ")[2], row["sampler"]) for row in rows} == {
        ("sound", "irbridge"), ("sound", "ddim"), ("sound", "sdedit"), ("paper", "irbridge"),
    }  # fmt: skip
    assert all(row["nfe"] == row["steps"] for row in rows if "sound" in row["subject"])
    assert (tmp_path / "figures" / "compare.png").stat().st_size > 1000


def test_a_prior_that_does_not_see_the_degraded_image_is_not_used_silently(
    photo: Path, pixel_folder: Path, tmp_path: Path
) -> None:
    words = ("restore", photo, "-o", tmp_path / "x.png", "--method", "irbridge", "--model", pixel_folder, "--steps", 2)
    result = rebridge(*words, "--prior-option", "condition=false")
    assert result.exit_code == 0
    assert "does not see the degraded image" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--prior-option", "guidance=2"), "--prior-option goes with --method irbridge"),
        (("--method", "irbridge", "--prior-option", "name=x"), "--prior-option takes no name: give --model"),
        (("--method", "irbridge", "--prior-option", "device=cpu"), "--prior-option takes no device: give --device"),
        (("--preset", "paper"), "--preset goes with --method irbridge"),
        (("--detail", "0.5"), "--detail goes with --method irbridge"),
        (("--method", "irbridge", "--bridge", "rdbm"), "create it with modulation='one'"),
        (("--method", "irbridge", "--preset", "best"), "unknown preset 'best'; known are paper, sound"),
        (("--method", "irbridge", "--schedule", "late"), "unknown schedule 'late'"),
        (("--method", "irbridge", "--controlnet", "x"), "is no diffusers pipeline and has no option controlnet"),
    ],
)
def test_impossible_wishes_get_one_sentence(
    photo: Path, pixel_folder: Path, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    result = rebridge("restore", photo, "-o", tmp_path / "x.png", "--model", pixel_folder, *options)
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())
    assert not (tmp_path / "x.png").exists()


def test_method_bridge_walks_another_bridge_with_any_model(photo: Path, model: Path, tmp_path: Path) -> None:
    for name, options in (("own", ()), ("other", ("--bridge", "ir-sde:lam=0.1"))):
        words = ("restore", photo, "-o", tmp_path / f"{name}.png", "--model", model, "--steps", 3, *options)
        result = rebridge(*words)
        assert result.exit_code == 0, result.output
    own, other = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("own", "other"))
    assert own.shape == other.shape
    assert not np.array_equal(own, other)
