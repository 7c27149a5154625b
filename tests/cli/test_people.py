"""The command line for people: what was found and done, comparisons, pipes, defaults, enlarging."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from tests.cli.conftest import saved
from tests.cli.test_cli import assert_bad_input, rebridge

ROOT = Path(__file__).parents[2]


def noisy(path: Path, sigma: float = 25, size: tuple[int, int] = (96, 80)) -> Path:
    saved(path, 5, size)
    pixels = np.asarray(Image.open(path)).astype(float)
    pixels += np.random.default_rng(0).normal(0, sigma, pixels.shape)
    Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)).save(path)
    return path


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.stdout.strip().splitlines()


def test_inspect_names_kinds_with_probabilities_and_changes_nothing(tmp_path: Path) -> None:
    path = noisy(tmp_path / "grainy.png")
    before = path.read_bytes()
    (line,) = lines(rebridge("inspect", path))
    assert "grainy.png: found noise (almost certainly, 9" in line
    assert "would treat noise" in line
    (record,) = json.loads(rebridge("inspect", tmp_path, "--json").stdout)
    first = record["found"][0]
    assert (first["kind"], first["certainty"]) == ("noise", "almost certainly")
    assert 0.95 < first["probability"] <= 1
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_inspect_tells_what_cannot_be_read_and_examines_the_rest(tmp_path: Path) -> None:
    noisy(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    result = rebridge("inspect", tmp_path)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert "b.png: cannot be read" in result.stderr


def test_inspect_of_a_model_that_does_not_tell_is_refused(model: Path, photo: Path) -> None:
    assert_bad_input(rebridge("inspect", photo, "--model", model), "without telling what it finds")


def test_restore_prints_a_line_per_picture(tmp_path: Path) -> None:
    path = noisy(tmp_path / "grainy.png")
    first, last = lines(rebridge("restore", path, "-o", tmp_path / "out"))
    assert "grainy.png: found noise (almost certainly" in first
    assert "restored: noise" in first
    assert "% of the pixels changed, by" in first
    assert f"wrote {tmp_path / 'out' / 'grainy.png'}" in first
    assert last.startswith("restored 1 file in")


def test_strength_blends_with_the_input(model: Path, photo: Path, tmp_path: Path) -> None:
    found = {}
    for strength in (0, 0.5, 1):
        out = tmp_path / f"{strength}.png"
        lines(rebridge("restore", photo, "-o", out, "--model", model, "--strength", strength))
        found[strength] = np.asarray(Image.open(out)).astype(float)
    assert np.array_equal(found[0], np.asarray(Image.open(photo)))
    assert np.abs(found[0.5] - (found[0] + found[1]) / 2).max() <= 1
    assert np.abs(found[1] - found[0]).max() > 3
    assert_bad_input(
        rebridge("restore", photo, "-o", tmp_path, "--strength", -1), "strength must be at least 0, got -1"
    )


def test_comparisons_and_a_contact_sheet_are_written_and_nothing_is_replaced(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("restore", photos, "-o", out, "--model", model, "--before-after", "--contact-sheet", out / "all.png")
    rows = json.loads(rebridge(*words, "--json").stdout)
    assert [len(row["views"]) for row in rows] == [2, 2]
    page = (out / "a_compare.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert 'type="range"' in page
    assert "http" not in page
    with Image.open(out / "a_compare.png") as pair:
        assert pair.size == (2 * 40 + 8, 32)
    with Image.open(out / "all.png") as sheet:
        assert sheet.width > 1000
    assert_bad_input(rebridge(*words), "all.png: exists already")
    (out / "a.png").unlink()
    again = rebridge(*words[:6], "--before-after")
    assert again.exit_code == 1
    assert "a_compare.html: exists already" in again.stderr


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = lines(rebridge("restore", photos, "-o", out, "--model", model, "--dry-run"))
    assert [line.split(": ")[1] for line in told[:2]] == [
        f"would be written to {out / 'a.png'}",
        f"would be written to {out / 'b.jpg'}",
    ]
    assert not out.exists()


def test_pictures_come_through_pipes_and_stdout_holds_nothing_else(model: Path, photo: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "rebridge.cli", "restore", "-", "-o", "-", "--model", str(model)]
    found = subprocess.run(words, input=photo.read_bytes(), capture_output=True, check=True, cwd=ROOT)
    with Image.open(io.BytesIO(found.stdout)) as picture:
        assert (picture.format, picture.size) == ("PNG", (48, 40))
    lines(rebridge("restore", photo, "-o", tmp_path / "file.png", "--model", model))
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(found.stdout))), np.asarray(Image.open(tmp_path / "file.png"))
    )
    assert b"stdin: restored by" in found.stderr
    as_jpeg = subprocess.run(
        [*words, "--format", "jpg"], input=photo.read_bytes(), capture_output=True, check=True, cwd=ROOT
    )
    assert as_jpeg.stdout[:2] == b"\xff\xd8"
    empty = subprocess.run(words, input=b"", capture_output=True, check=False, cwd=ROOT)
    assert (empty.returncode, empty.stdout) == (2, b"")
    assert b"stdin is empty" in empty.stderr


def test_stdout_takes_one_picture(photos: Path) -> None:
    assert_bad_input(rebridge("restore", photos, "-o", "-"), "writes one picture to stdout")


@pytest.mark.parametrize("format", ["bmp", "avif", "jxl"])
def test_results_come_in_other_formats(model: Path, photo: Path, tmp_path: Path, format: str) -> None:
    if format == "jxl":
        pytest.importorskip("imagecodecs")
    lines(rebridge("restore", photo, "-o", tmp_path / "out", "--model", model, "--format", format))
    assert (tmp_path / "out" / f"rainy.{format}").stat().st_size > 100


def test_a_file_of_defaults_fills_what_is_not_written(model: Path, photo: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(f"device: cpu\nmodel: {model}\nrestore:\n  strength: 0\n  format: bmp\nenlarge:\n  by: 4\n")
    lines(rebridge("restore", photo, "-o", tmp_path / "out", "--config", config))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "rainy.bmp")), np.asarray(Image.open(photo)))
    lines(rebridge("restore", photo, "-o", tmp_path / "out2", "--config", config, "--format", "png"))
    assert (tmp_path / "out2" / "rainy.png").is_file()
    config.write_text("restore:\n  strenght: 1\n")
    assert_bad_input(rebridge("restore", photo, "-o", tmp_path / "o", "--config", config), "no option 'strenght'")
    config.write_text("- a\n")
    assert_bad_input(rebridge("restore", photo, "-o", tmp_path / "o", "--config", config), "NAME: VALUE, got list")


def test_enlarging_multiplies_both_sides(photo: Path, tmp_path: Path) -> None:
    for by in (2, 3, 4):
        out = tmp_path / f"{by}.png"
        (line, _) = lines(rebridge("enlarge", photo, "--by", by, "-o", out))
        assert f"enlarged from 48 x 40 to {48 * by} x {40 * by} pixels" in line
        with Image.open(out) as large:
            assert large.size == (48 * by, 40 * by)
    assert_bad_input(rebridge("enlarge", photo, "--by", 5, "-o", tmp_path), "by must be 2, 3 or 4, got 5")


def test_marked_places_are_filled_and_the_rest_is_kept_bit_for_bit(photo: Path, tmp_path: Path) -> None:
    mask = np.zeros((40, 48), np.uint8)
    mask[5:9, 10:20] = 255
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray(mask).save(masks / "rainy.png")
    for given in (masks, masks / "rainy.png"):
        out = tmp_path / f"{given.name}.out.png"
        first, _ = lines(rebridge("restore", photo, "-o", out, "--mask", given))
        assert "filled 2.1 % of the picture" in first
        before, after = np.asarray(Image.open(photo)), np.asarray(Image.open(out))
        assert np.array_equal(before[mask == 0], after[mask == 0])
        assert not np.array_equal(before[mask > 0], after[mask > 0])
    Image.fromarray(mask[:30]).save(masks / "rainy.png")
    result = rebridge("restore", photo, "-o", tmp_path / "o.png", "--mask", masks)
    assert result.exit_code == 1
    assert "the mask has 48 x 30 pixels" in result.stderr


def test_sizes_are_width_by_height_and_the_old_order_works_with_a_warning(pixel_folder: Path, tmp_path: Path) -> None:
    small = saved(tmp_path / "small.png", 1, (24, 16))
    for number, (size, warned) in enumerate((("47x31", False), ("31x47", True))):
        out = tmp_path / f"{number}.png"
        words = ("solve", small, "-o", out, "--operator", "sr2", "--solver", "ddnm:steps=2", "-p", pixel_folder)
        result = rebridge(*words, "--size", size)
        assert result.exit_code == 0, result.output
        assert ("taken as HEIGHTxWIDTH" in result.stderr) == warned
        with Image.open(out) as found:
            assert found.size == (47, 31)


def test_doctor_names_versions_the_device_and_what_adds_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from rebridge.commands import doctor

    monkeypatch.setitem(doctor.EXTRAS, "metrics", {"no_such_module": "no-such-package"})
    found = {row["name"]: row for row in json.loads(rebridge("doctor", "--model", "none", "--json").stdout)}
    assert found["torch"]["fine"]
    assert found["device in use"]["state"] in ("cpu", "mps") or found["device in use"]["state"].startswith("cuda")
    assert found["extra metrics"]["remedy"] == "pip install 'rebridge[metrics]'"
    assert not found["extra metrics"]["fine"]
    assert any("speed of rdbm-small" in line for line in lines(rebridge("doctor")))


def test_the_shell_is_given_completions() -> None:
    asked = {**os.environ, "_REBRIDGE_COMPLETE": "complete_bash", "COMP_WORDS": "rebridge ins", "COMP_CWORD": "1"}
    code = "from rebridge.cli import app; app(prog_name='rebridge')"
    found = subprocess.run(
        [sys.executable, "-c", code], env=asked, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert found.stdout.split() == ["inspect"]


def test_logs_show_progress(model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rebridge.commands import progress

    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    result = rebridge("restore", photos, "-o", tmp_path / "out", "--model", model)
    assert "restoring: 0.33 of 2 (17 %) a.png" in result.stderr
