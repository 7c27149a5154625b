"""Animations and films: frames stay frames, times stay times, and the result flickers less than frame by frame."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from rebridge.commands.options import RestoreOptions
from rebridge.commands.restore import restore
from rebridge.images import Image, ImageError, clips
from rebridge.restoration.moving import Flicker, restore_frames

FRAMES, SIZE = 5, (64, 48)


def scene(number: int) -> np.ndarray:
    """A still background, and a square that moves to the right."""
    rows, columns = np.mgrid[0 : SIZE[1], 0 : SIZE[0]] / 9
    pixels = np.stack([127 + 90 * np.sin(rows + k) * np.cos(columns - k) for k in range(3)], -1)
    pixels[10:22, 4 + 6 * number : 16 + 6 * number] = 230
    return pixels


def noisy(number: int) -> np.ndarray:
    return (scene(number) + np.random.default_rng(number).normal(0, 20, scene(0).shape)).clip(0, 255).astype(np.uint8)


def animation(path: Path, **options: Any) -> Path:
    frames = [PILImage.fromarray(noisy(number)) for number in range(FRAMES)]
    times = [40, 50, 60, 70, 80]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=3, **options)
    return path


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_keep_their_frames_times_and_repeats(model: Path, tmp_path: Path, suffix: str) -> None:
    path = animation(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    found = restore(RestoreOptions(inputs=[path], output=tmp_path / "out", model=str(model), steps=1, device="cpu"))
    (result,) = found.results
    assert result.error is None
    assert result.output.suffix == suffix
    assert result.details["frames"] == FRAMES
    with PILImage.open(result.output) as image:
        assert image.size == SIZE
        times = []
        for number in range(FRAMES):
            image.seek(number)
            image.load()
            times.append(image.info["duration"])
        assert times == [40, 50, 60, 70, 80]
        assert image.info.get("loop") == 3


def test_still_pictures_of_such_formats_are_still(model: Path, tmp_path: Path) -> None:
    PILImage.fromarray(noisy(0)).save(tmp_path / "still.gif")
    found = restore(RestoreOptions(inputs=[tmp_path / "still.gif"], output=tmp_path / "out", model=str(model), steps=1))
    assert found.results[0].output.name == "still.png"
    assert found.results[0].error is None


def test_kinds_are_decided_once_and_the_result_flickers_less_than_frame_by_frame(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.png")
    flicker, errors = {}, {}
    for steady in (0.0, 0.5):
        out = tmp_path / f"{steady}.png"
        found = restore(RestoreOptions(inputs=[path], output=out, device="cpu", steady=steady))
        details = found.results[0].details
        assert found.results[0].error is None
        assert "restored: noise" in details["done_words"]
        flicker[steady] = details["flicker"]["after"]
        assert details["flicker"]["frame_by_frame"] == pytest.approx(flicker[0.0], abs=0.01)
        frames = [frame.pixels for frame in clips.read_frames(clips.open_clip(out, 10**6))]
        errors[steady] = np.mean(
            [np.square(255 * frames[n].permute(1, 2, 0).numpy() - scene(n).clip(0, 255)).mean() for n in range(FRAMES)]
        )
    clean = Flicker()
    for number in range(FRAMES):
        clean.add(torch.from_numpy(scene(number).clip(0, 255)).permute(2, 0, 1) / 255)
    assert flicker[0.5] - clean.mean < 0.8 * (flicker[0.0] - clean.mean)
    assert errors[0.5] < errors[0.0]


def test_films_come_back_with_rate_and_number_of_frames(model: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="the extra video is not installed")
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy(number), format="rgb24")))
        container.mux(stream.encode())
    options = RestoreOptions(inputs=[path], output=tmp_path / "out.mkv", model=str(model), steps=1, strength=0.0)
    found = restore(options)
    assert found.results[0].error is None, found.results[0].error
    clip = clips.open_clip(tmp_path / "out.mkv", 10**6)
    assert (clip.width, clip.height) == SIZE
    frames = list(clips.read_frames(clip))
    assert len(frames) == FRAMES
    assert float(clip.rate) == pytest.approx(12, rel=0.01)
    originals = list(clips.read_frames(clips.open_clip(path, 10**6)))
    assert (frames[2].pixels - originals[2].pixels).abs().mean() < 0.02


def test_the_task_decides_for_all_frames_of_a_clip(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.png")
    found = restore(RestoreOptions(inputs=[path], output=tmp_path / "b.png", device="cpu", task="rain"))
    assert found.results[0].error is None, found.results[0].error
    assert "found noise" in found.results[0].details["found_words"]
    assert "restored: rain" in found.results[0].details["done_words"]


def test_films_are_refused_with_a_sentence_where_the_extra_is_not_installed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    found = restore(RestoreOptions(inputs=[tmp_path / "film.mp4"], output=tmp_path / "out", model=str(model)))
    assert (
        found.results[0].error == f"{tmp_path / 'film.mp4'}: films need the package 'av': pip install 'rebridge[video]'"
    )


def test_damaged_clips_are_one_sentence_and_leave_nothing(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "film.mp4").write_bytes(b"no film at all")
    out = tmp_path / "out"
    found = restore(RestoreOptions(inputs=[tmp_path / "film.mp4"], output=out, model=str(model)))
    assert "cannot be read as moving pictures" in str(found.results[0].error)
    assert list(out.iterdir()) == []


def test_frame_by_frame_is_what_steady_0_means() -> None:
    frames = [Image(torch.full((3, 4, 4), value)) for value in (0.2, 0.8)]
    found = [after.pixels for _, after in restore_frames(iter(frames), lambda frame: frame, 0.0)]
    assert torch.equal(found[1], frames[1].pixels)


def test_clips_larger_than_the_limit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="64 x 48 pixels are more than the limit of 100"):
        clips.open_clip(animation(tmp_path / "a.gif"), 100)
