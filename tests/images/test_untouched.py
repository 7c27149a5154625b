"""A picture that is left as it is keeps its file where writing it anew would lose some of it."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from rebridge.commands.options import RestoreOptions
from rebridge.commands.restore import restore
from rebridge.images import Image, ImageError, ImageWarning, read_image, untouched_file, write_result
from rebridge.restoration import restore_files
from tests.images.making import exif, picture


def saved(path: Path, mode: str = "RGB", **options: Any) -> Path:
    """Save a made-up picture, in the format of the suffix."""
    samples = picture(48, 64)
    PILImage.fromarray(samples).convert(mode).save(path, **options)
    return path


def left(path: Path, **options: Any) -> bytes | None:
    """What `untouched_file` gives for a picture that was left as it is."""
    before = read_image(path)
    return untouched_file(path, before, before, options.pop("suffix", path.suffix), **options)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_bytes_stay(tmp_path: Path, suffix: str, mode: str) -> None:
    path = saved(tmp_path / f"a{suffix}", mode, quality=80)
    assert left(path) == path.read_bytes()


def test_a_change_below_half_a_level_is_none(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg")
    before = read_image(path)
    near, far = before.pixels.clone(), before.pixels.clone()
    near[:, 40] += 0.49 / 255
    far[0, 47, 63] -= 0.51 / 255
    assert untouched_file(path, before, before.with_pixels(near), ".jpg") == path.read_bytes()
    assert untouched_file(path, before, before.with_pixels(far), ".jpg") is None
    assert untouched_file(path, before, before.with_pixels(near[:, :-1]), ".jpg") is None


def test_pictures_in_bytes_are_compared_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg")
    before = read_image(path, bytes_beyond=1)
    assert before.pixels.dtype == torch.uint8
    assert untouched_file(path, before, before.with_pixels(before.pixels.clone()), ".jpg") == path.read_bytes()
    assert untouched_file(path, before, before.with_pixels(before.pixels ^ 1), ".jpg") is None


def test_alpha_is_compared_too(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    PILImage.fromarray(picture(48, 64, channels=4)).save(path, quality=80)
    before = read_image(path)
    assert before.alpha is not None
    assert untouched_file(path, before, before.with_pixels(before.pixels, before.alpha.clone()), ".webp")
    assert untouched_file(path, before, before.with_pixels(before.pixels, 1 - before.alpha), ".webp") is None


def test_other_formats_and_qualities_are_written_anew(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg")
    assert left(path, suffix=".png") is None
    assert left(path, suffix=".webp") is None
    assert left(path, quality=95) is None
    assert left(saved(tmp_path / "a.png")) is None
    assert left(saved(tmp_path / "a.webp", lossless=True)) is None


def test_files_that_hold_other_pixels_than_were_read_are_written_anew(tmp_path: Path) -> None:
    assert left(saved(tmp_path / "turned.jpg", exif=exif(6))) is None
    assert left(saved(tmp_path / "upright.jpg", exif=exif(1)))
    assert left(saved(tmp_path / "ink.jpg", "CMYK")) is None
    cut = saved(tmp_path / "cut.jpg", quality=95)
    cut.write_bytes(cut.read_bytes()[:-400])
    with pytest.warns(ImageWarning):
        assert left(cut) is None


def test_a_file_that_was_exchanged_or_removed_meanwhile_is_not_copied(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg")
    before = read_image(path)
    os.utime(path, (1, 1))
    assert untouched_file(path, before, before, ".jpg") is None
    path.unlink()
    assert untouched_file(path, before, before, ".jpg") is None


def test_results_are_written_whole_and_never_over_others(tmp_path: Path) -> None:
    path, result = saved(tmp_path / "a.jpg"), tmp_path / "out" / "a.jpg"
    os.utime(path, (1e9, 1e9))
    before = read_image(path)
    write_result(result, path, before, before)
    assert result.read_bytes() == path.read_bytes()
    assert result.stat().st_mtime == 1e9
    with pytest.raises(ImageError, match="exists already"):
        write_result(result, path, before, before)
    write_result(result, path, before, before.with_pixels(1 - before.pixels), overwrite=True)
    assert read_image(result).pixels.mean() == pytest.approx(float(1 - before.pixels.mean()), abs=0.01)
    write_result(result, path, before, before, overwrite=True)
    assert result.read_bytes() == path.read_bytes()
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ImageError, match="is a folder"):
        write_result(tmp_path / "folder.jpg", path, before, before, overwrite=True)


def test_folders_and_the_command_leave_sound_photographs_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    photo = Path(__file__).parents[2] / "examples" / "images" / "chelsea.jpg"
    (folder / "a.jpg").write_bytes(photo.read_bytes())

    def idle(image: Image, **_: Any) -> Image:
        return image.with_pixels(image.pixels.clone())

    restore_files(folder, tmp_path / "out", idle)
    assert (tmp_path / "out" / "a.jpg").read_bytes() == photo.read_bytes()
    result = restore(RestoreOptions(inputs=[folder / "a.jpg"], output=tmp_path / "b.jpg", model="rdbm-tiny"))
    assert result.results[0].details["unchanged"]
    assert (tmp_path / "b.jpg").read_bytes() == photo.read_bytes()
    restore(RestoreOptions(inputs=[folder / "a.jpg"], output=tmp_path / "c.jpg", model="rdbm-tiny", task="noise"))
    written = np.asarray(PILImage.open(io.BytesIO((tmp_path / "c.jpg").read_bytes())))
    assert np.abs(written.astype(int) - np.asarray(PILImage.open(photo))).max() > 2
