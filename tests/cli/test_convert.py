"""`rebridge convert` and `rebridge models --published`."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from rebridge.cli import app
from tests.published import state


def rebridge(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def checkpoint(folder: Path, name: str = "diffuir_unet") -> Path:
    torch.save(state(name), folder / "model-300.pt")
    return folder / "model-300.pt"


def test_a_converted_checkpoint_restores_a_picture(tmp_path: Path) -> None:
    done = rebridge("convert", checkpoint(tmp_path), "-o", tmp_path / "diffuir")
    assert done.exit_code == 0, done.output
    assert "411,603" in done.output
    config = json.loads((tmp_path / "diffuir" / "config.json").read_text())
    assert config["sampler"]["name"] == "increments"
    assert "sha256" in config
    assert "model-300.pt" in config["training"]["files"]
    Image.fromarray(np.zeros((21, 34, 3), np.uint8)).save(tmp_path / "photo.png")
    done = rebridge("restore", tmp_path / "photo.png", "-o", tmp_path / "out.png", "--model", tmp_path / "diffuir")
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "out.png").size == (34, 21)


def test_check_prints_weights_and_fingerprint_and_reads_the_folder_again(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    looked = rebridge("convert", path, "--check")
    assert looked.exit_code == 0, looked.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["model-300.pt"]
    written = json.loads(rebridge("convert", path, "-o", tmp_path / "m", "--check", "--json").stdout)
    assert written["checked"]
    assert f"{written['parameters']:,}" in looked.output
    assert written["fingerprint"] in looked.output
    other = state("diffuir_unet") | {"unet0.init_conv.bias": torch.zeros(16)}
    torch.save(other, path)
    assert json.loads(rebridge("convert", path, "--json").stdout)["fingerprint"] != written["fingerprint"]


def test_options_of_a_family_stand_behind_its_name(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "irsde_conditional_unet")
    done = rebridge("convert", path, "--from", "unidb:max_sigma=20,gamma_inv=1e-5", "-o", tmp_path / "m")
    assert done.exit_code == 0, done.output
    bridge = json.loads((tmp_path / "m" / "config.json").read_text())["bridge"]
    assert (bridge["name"], bridge["lam"], bridge["gamma_inv"]) == ("unidb", 20 / 255, 1e-5)
    for wrong, words in (
        ("unidb:sigma=20", "has no option 'sigma'"),
        ("unidb:max_sigma=1e300", "takes at most 1000000 as max_sigma"),
        ("unidb:max_sigma=x", "looks like UniDB, but"),
        ("unidb:max_sigma", "is not of the form"),
    ):
        done = rebridge("convert", path, "--from", wrong)
        assert done.exit_code == 2
        assert words in done.output


def test_convert_looks_without_writing_and_speaks_json(tmp_path: Path) -> None:
    done = rebridge(
        "convert", checkpoint(tmp_path, "irsde_conditional_unet"), "--from", "goub", "--task", "sr4", "--json"
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["family"], found["tasks"], found["folder"]) == ("goub", ["sr4"], None)
    assert [path.name for path in tmp_path.iterdir()] == ["model-300.pt"]


def test_convert_does_not_replace_a_model_unasked(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    assert rebridge("convert", path, "-o", tmp_path / "m").exit_code == 0
    again = rebridge("convert", path, "-o", tmp_path / "m")
    assert again.exit_code == 2
    assert "holds a model already" in again.output
    assert rebridge("convert", path, "-o", tmp_path / "m", "--overwrite").exit_code == 0


def test_a_bad_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "test.yml").write_text("name: ir-sde")
    done = rebridge("convert", tmp_path / "test.yml", "-o", tmp_path / "m")
    assert done.exit_code == 2
    assert "test.yml is a text file" in done.output
    assert not (tmp_path / "m").exists()


def test_published_checkpoints_are_listed_with_their_commands() -> None:
    listed = json.loads(rebridge("models", "--published", "--json").stdout)
    assert any(entry["command"].startswith("rebridge convert model-300.pt --from diffuir") for entry in listed)
    assert "diffuir-l" in rebridge("models", "--published").output
