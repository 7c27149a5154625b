"""The commands that print the figures of docs/irbridge.md run, and go on where they were stopped."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photograph-like files of 72 x 64 px."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows, columns = np.mgrid[0:64, 0:72]
    for number in range(2):
        wave = 128 + 100 * np.sin(rows / (5 + number)) * np.cos(columns / 7)
        Image.fromarray(np.stack([wave] * 3, -1).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def run(module: object, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
    module.main()  # type: ignore[attr-defined]


def test_figures_of_every_way_by_task_and_seconds_by_steps(
    photos: Path,
    pixel_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import irbridge_figures

    table, picture = tmp_path / "table.json", tmp_path / "plot.png"
    words = ["--clean", photos, "--model", pixel_folder, "--tasks", "rain", "inpaint", "--steps", 2, "--timing", 2, 4]
    run(irbridge_figures, monkeypatch, *words, "--limit", 1, "--output", table, "--plot", picture)
    printed = capsys.readouterr().out
    assert "| inpaint | " in printed
    assert "| 4 | " in printed
    assert len(json.loads(table.read_text())["figures"]) == 2 * 4
    assert picture.stat().st_size > 1000
    before = json.loads(table.read_text())["figures"]
    run(irbridge_figures, monkeypatch, *words, "--output", table, "--plot", picture)
    after = json.loads(table.read_text())["figures"]
    assert len(after) == 2 * 4 * 2
    assert before.items() <= after.items()


def test_details_on_and_off(
    photos: Path,
    pixel_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("diffusers")
    import irbridge_details

    words = ["--clean", photos, "--train", photos, "--tasks", "inpaint", "--steps", 2]
    for model in (pixel_folder, "perfect"):
        options = ["--model", model, "--iterations", 1, "--autoencoder", tmp_path / "autoencoder"]
        run(irbridge_details, monkeypatch, *words, *options)
    assert capsys.readouterr().out.count("| inpaint | ") == 2
