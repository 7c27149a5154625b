"""Restoring as a web page would: in memory, file by file, with progress and cancellation, and nothing printed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rebridge import Restorer
from rebridge.commands.opening import open_restorer
from rebridge.commands.options import ModelOptions, RestoreOptions, SamplingOptions
from rebridge.commands.restore import restore, restore_image


def test_an_image_in_memory_is_restored_as_the_library_does(
    model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image.open(photos / "a.png")
    opened = open_restorer(ModelOptions(model=str(model), device="cpu"))
    news: list[tuple[float, float]] = []
    found = restore_image(image, opened, SamplingOptions(seed=4, samples=2), lambda *told: news.append(told[:2]))
    expected = Restorer.from_pretrained(model, "cpu")(image, seed=4, samples=2)
    assert np.array_equal(np.asarray(found.image), np.asarray(expected))
    assert news[-1] == (6, 6)
    assert found.done["sampler"]["name"] == "dbim"
    assert (found.done["steps"], found.done["seed"], found.done["samples"]) == (3, 4, 2)
    assert found.done["bridge"]["name"] == "goub"
    assert found.note is None
    assert capsys.readouterr() == ("", "")


def test_files_have_one_result_each_and_progress_counts_fractions_of_files(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    news: list[tuple[float, float, str]] = []
    options = RestoreOptions(inputs=[photos], output=tmp_path / "out", model=str(model), steps=2, device="cpu")
    found = restore(options, lambda *told: news.append(told))
    assert [result.path.name for result in found.results] == ["a.png", "b.jpg", "broken.png"]
    assert [result.path.name for result in found.failures] == ["broken.png"]
    assert [result.path.name for result in found.written] == ["a.png", "b.jpg"]
    done = [told[0] for told in news]
    assert done == sorted(done)
    assert {0.5, 1.0, 1.5, 2.0} <= set(done)
    assert news[-1][:2] == (3, 3)
    assert capsys.readouterr() == ("", "")


class StoppedError(Exception):
    """Raised by a user who has seen enough."""


def test_an_exception_of_the_callback_cancels_the_whole_command(model: Path, photos: Path, tmp_path: Path) -> None:
    def stop(done: float, total: float, note: str) -> None:
        if done > 1.4:
            raise StoppedError(note)

    options = RestoreOptions(inputs=[photos], output=tmp_path / "out", model=str(model), steps=2, device="cpu")
    with pytest.raises(StoppedError, match=r"b\.jpg"):
        restore(options, stop)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_an_image_in_memory_is_cancelled_too(model: Path, photos: Path) -> None:
    def stop(done: float, total: float, note: str) -> None:
        raise StoppedError

    opened = open_restorer(ModelOptions(model=str(model), device="cpu"))
    with pytest.raises(StoppedError):
        restore_image(Image.open(photos / "a.png"), opened, SamplingOptions(), stop)


def test_a_restorer_that_is_open_already_is_used(model: Path, photos: Path, tmp_path: Path) -> None:
    opened = open_restorer(ModelOptions(model=str(model), device="cpu"))
    options = RestoreOptions(inputs=[photos / "a.png"], output=tmp_path, suffix="_new", model="nobody", steps=1)
    assert restore(options, opened=opened).written[0].output.is_file()


def test_a_model_that_does_not_see_the_degraded_image_comes_with_a_note(pixel_folder: Path) -> None:
    options = ModelOptions(method="irbridge", model=str(pixel_folder), prior_options={"condition": False})
    note = open_restorer(options).note
    assert note is not None
    assert "does not see the degraded image" in note
    assert open_restorer(ModelOptions(method="irbridge", model=str(pixel_folder))).note is None


def test_options_are_checked_where_they_are_made() -> None:
    with pytest.raises(ValueError, match="quality must be between 1 and 100, got 0"):
        RestoreOptions(inputs=["x.png"], output=Path("out"), quality=0)


def test_the_uncertainty_is_written_beside_the_result_and_nothing_is_overwritten(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "inputs": [photos / "a.png"],
        "output": tmp_path / "out",
        "model": str(model),
        "device": "cpu",
    }
    options = RestoreOptions(**settings, seed=4, samples=3, uncertainty=True)
    (written,) = restore(options).written
    shown = np.asarray(Image.open(tmp_path / "out/a_std.png")).astype(float) / 255
    spread = Restorer.from_pretrained(model, "cpu").sample(Image.open(photos / "a.png"), 3, seed=4).std[0].mean(0)
    assert np.abs(shown - np.clip(spread.numpy() * 255 / 32, 0, 1)).max() <= 0.51 / 255
    assert written.details["views"] == [tmp_path / "out/a_std.png"]
    written.output.unlink()
    (failed,) = restore(options).failures
    assert "a_std.png: exists already" in str(failed.error)


@pytest.mark.parametrize("other", [{}, {"samples": 4, "engine": "ray"}, {"samples": 4, "mask": Path("mask.png")}])
def test_an_uncertainty_that_cannot_be_known_is_refused(photos: Path, tmp_path: Path, other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="--uncertainty"):
        RestoreOptions(inputs=[photos], output=tmp_path / "out", uncertainty=True, **other)
