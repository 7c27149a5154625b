"""IRBridge finds its task or refuses the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest
import torch

from rebridge import degradations
from rebridge.commands.opening import Opened, open_restorer
from rebridge.commands.options import RestoreOptions
from rebridge.commands.restore import restore
from rebridge.commands.task_finding import TaskFinder
from rebridge.images import Image, read_image, write_image

EXAMPLES = Path(__file__).parents[2] / "examples/images"


@pytest.fixture(scope="module")
def options() -> RestoreOptions:
    return RestoreOptions(inputs=[EXAMPLES], output=Path("out"), method="irbridge", steps=2)


@pytest.fixture(scope="module")
def opened(options: RestoreOptions) -> Opened:
    return open_restorer(options)


@pytest.fixture(scope="module")
def finder(options: RestoreOptions, opened: Opened) -> TaskFinder:
    return TaskFinder(options, opened)


def damaged(tmp_path: Path, name: str, task: str) -> Image:
    clean = read_image(EXAMPLES / name)
    pixels = degradations.create(task)(clean.pixels[None], torch.Generator().manual_seed(3))[0]
    write_image(tmp_path / "damaged.png", Image(pixels))
    return read_image(tmp_path / "damaged.png")


@pytest.mark.parametrize("task", ["rain", "inpaint"])
def test_finds_what_ails_a_picture(finder: TaskFinder, tmp_path: Path, task: str) -> None:
    found, fitting = finder(damaged(tmp_path, "chelsea.jpg", task))
    assert found == task
    assert fitting.name == "pixel-prior-small"


def test_refuses_a_picture_in_which_nothing_is_certain(finder: TaskFinder) -> None:
    with pytest.raises(ValueError, match="nothing that pixel-prior-small knows .*name it by --task"):
        finder(read_image(EXAMPLES / "chelsea.jpg"))


def test_a_named_task_is_not_looked_for(options: RestoreOptions, opened: Opened) -> None:
    assert TaskFinder.needed(options, opened)
    named = RestoreOptions(inputs=[EXAMPLES], output=Path("out"), method="irbridge", task="snow")
    assert not TaskFinder.needed(named, opened)


def test_the_task_of_a_film_must_be_named(tmp_path: Path, options: RestoreOptions) -> None:
    frames = [PIL.Image.new("RGB", (32, 32), (shade, 90, 40)) for shade in (10, 200)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    (failed,) = restore(replace(options, inputs=[tmp_path / "film.gif"], output=tmp_path / "out")).failures
    assert "name that of a film by --task" in str(failed.error)
