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
