"""Choosing settings on a few pairs: the best of what was tried, written down, found again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from rebridge.cli import app
from rebridge.evaluation import synthetic_cases
from rebridge.evaluation.metrics import psnr
from rebridge.evaluation.tuning import SEARCH, Tuned, tune, write_presets
from rebridge.irbridge.presets import preset, read_presets
from rebridge.models import load_prior
from rebridge.restoration import Restorer
from rebridge.samplers.prior_schedules import PAPERS, SCHEDULES

FEW = {"schedule": ("critical", "critical+300"), "eta": (0.0, 1.0), "lam": (0.008, 0.04)}


@pytest.fixture
def photos(picture: Tensor, tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray((255 * picture[0]).permute(1, 2, 0).byte().numpy()).save(folder / "a.png")
    return folder


def test_the_papers_eight_schedules_are_among_the_choices() -> None:
    assert len(PAPERS) == 8
    assert set(PAPERS) <= set(SEARCH["schedule"]) <= set(SCHEDULES)


def test_the_winner_is_the_best_that_was_tried_and_restores_as_was_said(
    photos: Path, pixel_folder: Path, tmp_path: Path
) -> None:
    prior = load_prior(pixel_folder)
    cases = synthetic_cases(photos, ["rain"])
    tuned = tune(prior, "rain", cases, steps=3, search=FEW)
    assert tuned.psnr == max(trial.psnr for trial in tuned.trials if trial.psnr is not None)
    assert tuned.psnr >= tuned.before
    path = write_presets(tmp_path / "mine.json", [tuned])
    clean, degraded = (image[None] for image in cases[0].load())
    restored = Restorer.from_preset(prior, path, "rain")(degraded, steps=3, seed=0)
    assert float(psnr(restored, clean)) == pytest.approx(tuned.psnr, abs=1e-6)


def test_what_cannot_be_is_tried_and_said_so(photos: Path, pixel_folder: Path) -> None:
    prior = load_prior(pixel_folder)
    search = {"eta": (1.0,), "start": ("y", "noise")}
    tuned = tune(prior, "rain", synthetic_cases(photos, ["rain"]), base="paper", steps=3, search=search, rounds=1)
    problems = [trial.problem for trial in tuned.trials if trial.psnr is None]
    assert len(problems) == 1
    assert "loses its variance" in problems[0]
    assert len(tuned.trials) == 3
    with pytest.raises(ValueError, match="unknown setting 'sigma' to search; known are schedule"):
        tune(prior, "rain", synthetic_cases(photos, ["rain"]), search={"sigma": (1,)})
    with pytest.raises(ValueError, match="at least one pair"):
        tune(prior, "rain", [])


def test_files_of_presets_grow_task_by_task(photos: Path, pixel_folder: Path, tmp_path: Path) -> None:
    prior, path = load_prior(pixel_folder), tmp_path / "mine.json"
    for task in ("rain", "lowlight"):
        options: dict[str, Any] = {"base": "paper", "steps": 2, "search": {"grid": ("uniform",)}, "rounds": 1}
        write_presets(path, [tune(prior, task, synthetic_cases(photos, [task]), **options)])
    assert list(read_presets(path)) == ["rain", "lowlight"]
    assert preset(path, "lowlight")["schedule"] == "lowlight"
    assert preset(path)["schedule"] == "rain"
    with pytest.raises(ValueError, match=r"has no settings for snow; it has rain, lowlight"):
        preset(path, "snow")


def test_a_prior_brings_its_own_settings_along(photos: Path, pixel_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pixel_folder, tmp_path / "prior")
    with pytest.raises(ValueError, match="brings no settings of its own; use the preset paper or sound"):
        Restorer.from_preset(folder, preset="tuned", task="rain")
    tuned = Tuned("rain", "paper", {"schedule": "linear-550", "bridge": {"lam": 0.02}}, 30.0, 29.0, [])
    write_presets(folder / "presets.json", [tuned])
    restore = Restorer.from_preset(folder, preset="tuned", task="rain")
    assert restore.sampler().params["schedule"] == "linear-550"
    assert restore.bridge.params["lam"] == 0.02
    by_default = Restorer.from_preset(folder, task="rain")
    assert by_default.sampler().params == restore.sampler().params
    for other in (by_default.for_task("haze"), Restorer.from_preset(folder)):
        assert other.sampler().params["schedule"] == "critical"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nonsense", "holds no presets: "),
        ('{"tasks": {}}', "holds no presets of format 1"),
        ('{"format": 1, "tasks": {"rain": {}}}', "the settings of rain name no bridge"),
    ],
)
def test_a_file_that_holds_no_presets_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        preset(path, "rain")
    with pytest.raises(ValueError, match="holds no presets"):
        preset(tmp_path / "missing.json")


def test_tuning_on_the_command_line(photos: Path, pixel_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned.json"
    words = ["tune", "--model", str(pixel_folder), "--clean", str(photos), "-t", "rain", "-o", str(out), "--steps", "2"]
    options = ["--search", "schedule=critical,linear-550", "--search", "lam=0.01", "--rounds", "1", "--json"]
    result = CliRunner().invoke(app, words + options)
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)
    assert record["psnr"] >= record["before"]
    restored = tmp_path / "restored.png"
    words = [
        "restore",
        str(photos / "a.png"),
        "-o",
        str(restored),
        "--method",
        "irbridge",
        "--model",
        str(pixel_folder),
    ]
    result = CliRunner().invoke(app, [*words, "--preset", str(out), "--task", "rain", "--steps", "2"])
    assert result.exit_code == 0, result.output
    assert restored.is_file()


def test_a_bad_image_is_left_out_of_a_tuning_and_named(photos: Path, pixel_folder: Path, tmp_path: Path) -> None:
    (photos / "0bad.png").write_bytes(b"no image")
    words = ["tune", "--model", pixel_folder, "--clean", photos, "-t", "rain", "-o", tmp_path / "t.json"]
    words += ["--steps", "2", "--search", "lam=0.01", "--rounds", "1"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "left out" in result.output
    assert "0bad.png" in " ".join(result.output.split())
    assert (tmp_path / "t.json").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--clean", "x", "-o", "a.json"], "give --clean DIR and --task T, or --pairs DIR"),
        (["--clean", "x", "-t", "rain", "-o", "a.yaml"], "a file that ends in .json"),
        (["--clean", "x", "-t", "rain", "-o", "a.json", "--search", "sigma"], "--search takes schedule"),
        (["--clean", "x", "-t", "rain", "-o", "a.json", "--steps", "1"], "steps at least 2, got 2 and 1"),
    ],
)
def test_impossible_tunings_get_one_sentence(options: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["tune", *options])
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())
