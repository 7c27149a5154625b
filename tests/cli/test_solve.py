"""Solving on the command line: pictures, arrays, folders, and all that `restore` can do beside."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner, Result

from rebridge import bridges, inverse, networks
from rebridge.cli import app
from rebridge.inverse import operators
from rebridge.models import TrainedModel
from tests.inverse.conftest import image

SMALL = {"widths": [4, 8], "blocks": [1], "middle": 1, "embedding": 8}


def rebridge(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def saved(path: Path, pixels: Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(path)
    return path


def test_a_picture_is_enlarged_and_its_uncertainty_shown(pixel_folder: Path, tmp_path: Path) -> None:
    small = saved(tmp_path / "small.png", image(6, 8))
    words = ("solve", small, "-o", tmp_path / "out", "--operator", "sr4", "--solver", "nrlg", "--prior", pixel_folder)
    result = rebridge(*words, "--steps", 3, "--samples", 3, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["calls"] == 9
    assert [Path(path).name for path in figures["files"]] == ["small.png", "small_std.png", "small_samples.npz"]
    assert Image.open(tmp_path / "out" / "small.png").size == (32, 24)
    spread = np.asarray(Image.open(tmp_path / "out" / "small_std.png"))
    assert spread.shape == (24, 32)
    assert spread.max() == 255
    arrays = np.load(tmp_path / "out" / "small_samples.npz")
    assert arrays["samples"].shape == (3, 3, 24, 32)
    np.testing.assert_allclose(arrays["samples"].std(0, ddof=1), arrays["std"], atol=1e-6)
    again = rebridge(*words, "--steps", 3)
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_a_clean_picture_is_measured_first(pixel_folder: Path, tmp_path: Path) -> None:
    clean = saved(tmp_path / "clean.png", image())
    for operator in ("noise@25", "radon:angles=8", "jpeg:quality=30"):
        out = tmp_path / f"{operator[:3]}.png"
        words = ("solve", clean, "-o", out, "--operator", operator, "--solver", "diffpir:steps=3", "-p", pixel_folder)
        result = rebridge(*words, "--simulate")
        assert result.exit_code == 0, result.output
        assert "PSNR" in result.output
        assert out.is_file()
        assert out.with_name(f"{operator[:3]}_measured.png").is_file() == (operator != "radon:angles=8")


def test_masks_kernels_and_arrays_are_read(pixel_folder: Path, tmp_path: Path) -> None:
    photo = saved(tmp_path / "photo.png", image())
    Image.fromarray(np.full((16, 24), 255, np.uint8)).save(tmp_path / "mask.png")
    Image.fromarray(np.full((3, 3), 80, np.uint8)).save(tmp_path / "kernel.png")
    operator = operators.create("radon", (3, 16, 24), angles=4)
    np.savez(tmp_path / "y.npz", y=operator.A(image())[0].numpy())
    for words in (
        (photo, "--operator", "known-mask", "--mask", tmp_path / "mask.png"),
        (photo, "--operator", "blur", "--kernel", tmp_path / "kernel.png"),
        (tmp_path / "y.npz", "--operator", "radon:angles=4", "--size", "24x16"),
    ):
        options = ("-o", tmp_path / "out", "--solver", "nrlg:steps=2", "-p", pixel_folder, "--overwrite")
        result = rebridge("solve", *words, *options)
        assert result.exit_code == 0, result.output


def test_folders_are_solved_file_by_file_and_one_bad_file_does_not_stop_the_others(
    pixel_folder: Path, tmp_path: Path
) -> None:
    for name in ("a.png", "deep/b.jpg"):
        saved(tmp_path / "in" / name, image())
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    words = ("solve", tmp_path / "in", "-o", out, "--operator", "noise@10", "--solver", "ddnm", "--steps", 2)
    options = ("-p", pixel_folder, "-r", "--suffix", "_x", "--format", "webp", "--quality", 90, "--tile", 64)
    more = ("--overlap", 16, "--dtype", "bfloat16", "--device", "cpu", "--seed", 3)
    result = rebridge(*words, *options, *more, "--json")
    assert result.exit_code == 1, result.output
    assert "1 file of 3 failed" in result.stderr
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == ["a_x.webp", "deep/b_x.webp"]
    rows = json.loads(result.stdout)["results"]
    assert [row["error"] is None for row in rows] == [True, False, True]
    again = rebridge(*words, *options, *more, "--skip-existing", "--json")
    assert [row["skipped"] for row in json.loads(again.stdout)["results"]] == [True, False, True]


def test_tiles_give_nearly_what_the_whole_image_gives(pixel_folder: Path, tmp_path: Path) -> None:
    photo = saved(tmp_path / "photo.png", image(48, 128))
    found = []
    for tile in (0, 64):
        out = tmp_path / f"{tile}.png"
        words = ("solve", photo, "-o", out, "--operator", "sr2", "--solver", "ddnm", "--steps", 2)
        assert rebridge(*words, "-p", pixel_folder, "--tile", tile, "--overlap", 4).exit_code == 0
        found.append(np.asarray(Image.open(out)).astype(float))
    assert np.abs(found[0] - found[1]).mean() < 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--operator", "sr3"), "unknown operator 'sr3'"),
        (("--operator", "noise@loud"), "in 8-bit levels, got 'noise@loud'"),
        (("--solver", "magic"), "unknown solver 'magic'"),
        (("--operator", "radon"), "give a .npy file, or --simulate"),
        (("--operator", "known-mask"), "needs --mask FILE"),
        (("--mask", "m.png"), "--mask goes with the operator known-mask"),
        (("--size", "big"), "--size takes WIDTHxHEIGHT"),
        (("--size", "99x99"), "sr4 of 99 x 99 pixels measures 25 x 25, and the picture has 16 x 24"),
        (("--prior", "nowhere"), "unknown model 'nowhere'"),
        (("--samples", "0"), "samples must be at least 1"),
        (("--tile", "3"), "tile must be at least"),
        (("--quality", "0"), "quality must be between 1 and 100"),
    ],
)
def test_bad_input_gets_one_sentence(words: tuple[str, ...], message: str, pixel_folder: Path, tmp_path: Path) -> None:
    photo = saved(tmp_path / "photo.png", image())
    result = rebridge("solve", photo, "-o", tmp_path / "out", "-p", pixel_folder, *words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_solvers_irbridge_and_a_trained_bridge_share_one_table(pixel_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = networks.create("fast", **SMALL)
    bridge = TrainedModel.of(network, bridges.create("rdbm"), sampler={"name": "dbim", "steps": 2}, tasks=["rain"])
    model = bridge.save_pretrained(tmp_path / "bridge")
    saved(tmp_path / "photos" / "a.png", image(20, 30))
    words = ["compare", "--clean", tmp_path / "photos", "--operator", "noise@25", "--operator", "radon:angles=5"]
    words += ["--solver", "ddrm:steps=2", "--solver", "irbridge", "--model", model, "--prior", pixel_folder]
    result = rebridge(*words, "--crop", 16, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["method"] for row in rows] == ["measured", "ddrm:steps=2", "irbridge", str(model), "ddrm:steps=2"]
    assert rows[0]["psnr"] == pytest.approx(20.2, abs=1.0)  # noise of 25/255
    assert rows[1]["calls"] == 2
    assert rows[3]["calls"] == 2
    assert rows[-1]["psnr"] is None  # no decomposition of the Radon transform


def test_the_lists_hold_every_solver_and_operator() -> None:
    result = rebridge("solvers", "--json")
    assert result.exit_code == 0
    listed = json.loads(result.stdout)
    assert [row["name"] for row in listed["solvers"]] == inverse.names()
    assert [row["name"] for row in listed["operators"]] == operators.names()
    assert rebridge("solvers").exit_code == 0
