"""Films: the times, colours, shape and sound of the original stay."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rebridge.images import ImageError, clips

av = pytest.importorskip("av", reason="the extra video is not installed")
SIZE = (64, 48)
TENTHS = (0, 1, 2, 5, 6, 9)
"""When the frames of a film are shown, in tenths of a second: not evenly."""


def colour_blocks(number: int) -> np.ndarray:
    """Saturated colours, of which other matrices make other ones, and a line that moves."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    pixels[..., 0] = 200
    pixels[:24, :32] = (30, 160, 60)
    pixels[:, 40:] = (20, 20, 220)
    pixels[:, 10 + number] = 240
    return pixels


def film(path: Path, colours: tuple[int, int, int] = (2, 2, 2), turn: int = 0, aspect: Fraction | None = None) -> Path:
    """Write a film whose frames are shown at `TENTHS`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        code = stream.codec_context
        code.time_base = Fraction(1, 10)
        code.colorspace, code.color_primaries, code.color_trc = colours
        if aspect is not None:
            code.sample_aspect_ratio = aspect
        if turn:
            stream.set_display_rotation(turn)
        container.metadata["title"] = "Holiday"
        for number in TENTHS:
            frame = av.VideoFrame.from_ndarray(colour_blocks(number), format="rgb24")
            matrix = None if colours[0] == 2 else colours[0]
            frame = frame.reformat(format="yuv420p", dst_colorspace=matrix)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sounding(path: Path, codec: str, seconds: float = 0.4) -> Path:
    """Write a film of one colour with a tone."""
    samples = int(48_000 * seconds)
    tone = 0.3 * np.sin(np.arange(samples) * 2 * np.pi * 440 / 48_000).astype(np.float32)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream(codec, rate=48_000, layout="mono")
        for _ in range(int(25 * seconds)):
            frame = av.VideoFrame.from_ndarray(np.full((SIZE[1], SIZE[0], 3), 90, np.uint8), format="rgb24")
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        step = sound.codec_context.frame_size or 1024
        for first in range(0, samples, step):
            frame = av.AudioFrame.from_ndarray(tone[None, first : first + step], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, first, Fraction(1, 48_000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def copied(path: Path, output: Path) -> clips.Clip:
    """Write the frames of a film as they are."""
    clip = clips.open_clip(path, 10**6)
    clips.write_frames(output, clips.read_frames(clip), clip)
    return clips.open_clip(output, 10**6)


def pixels(clip: clips.Clip) -> np.ndarray:
    return 255 * np.stack([frame.pixels.numpy() for frame in clips.read_frames(clip)])


@pytest.mark.parametrize("colours", [(1, 1, 1), (5, 5, 6), (9, 9, 14), (2, 2, 2)], ids=str)
def test_colours_stay_and_so_does_what_the_film_says_of_them(tmp_path: Path, colours: tuple[int, int, int]) -> None:
    original = clips.open_clip(film(tmp_path / "a.mp4", colours), 10**6)
    found = copied(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert found.colours == original.colours == colours
    inside = (..., slice(28, 44), slice(44, 60))  # of one colour, far from edges, which are subsampled
    assert np.abs(pixels(found)[inside] - pixels(original)[inside]).max() < 6
    truth = np.array([20, 20, 220])[:, None, None]
    assert np.abs(pixels(found)[inside] - truth).max() < 10


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_are_shown_when_they_were(tmp_path: Path, suffix: str) -> None:
    found = copied(film(tmp_path / f"a{suffix}"), tmp_path / f"b{suffix}")
    assert [float(moment) for moment in found.times] == pytest.approx([tenth / 10 for tenth in TENTHS], abs=1e-3)
    with av.open(str(tmp_path / f"b{suffix}")) as container:
        assert {key.lower(): value for key, value in container.metadata.items()}["title"] == "Holiday"


@pytest.mark.parametrize("turn", [90, -90, 180])
def test_films_of_turned_phones_are_upright(tmp_path: Path, turn: int) -> None:
    turned = clips.open_clip(film(tmp_path / "a.mp4", turn=turn), 10**6)
    plain = clips.open_clip(film(tmp_path / "plain.mp4"), 10**6)
    assert (turned.width, turned.height) == (SIZE if turn == 180 else SIZE[::-1])
    assert np.abs(pixels(turned) - np.rot90(pixels(plain), turn // 90, (2, 3))).max() < 3
    found = copied(tmp_path / "a.mp4", tmp_path / "b.mkv")
    assert (found.width, found.height, found.turn) == (turned.width, turned.height, 0)


def test_pixels_that_are_no_squares_stay_so(tmp_path: Path) -> None:
    assert copied(film(tmp_path / "a.mp4", aspect=Fraction(4, 3)), tmp_path / "b.mp4").aspect == Fraction(4, 3)


def sound_of(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(bytes(packet) for packet in container.demux(audio=0))


@pytest.mark.parametrize(("name", "codec", "suffix"), [("a.mp4", "aac", ".mp4"), ("a.mkv", "flac", ".mkv"),
    ("a.avi", "mp2", ".mp4"), ("a.avi", "pcm_s16le", ".mkv"), ("a.mov", "pcm_s16le", ".mov")])  # fmt: skip
def test_sound_is_kept_as_it_is(tmp_path: Path, name: str, codec: str, suffix: str) -> None:
    copied(sounding(tmp_path / name, codec), tmp_path / f"out{suffix}")
    assert sound_of(tmp_path / f"out{suffix}") == sound_of(tmp_path / name) != b""
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    assert kinds.index("audio") < len(kinds) // 2, "sound lies beside the pictures that it belongs to"


def test_sound_that_does_not_go_into_a_film_is_refused_before_any_work(tmp_path: Path) -> None:
    clip = clips.open_clip(sounding(tmp_path / "a.avi", "adpcm_ms"), 10**6)

    def frames() -> Any:
        raise AssertionError("a frame was asked for")
        yield

    with pytest.raises(ImageError, match=r"a.avi: its sound or its size does not go into .*\.mkv, which takes any"):
        clips.write_frames(tmp_path / "out.mp4", frames(), clip)
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]


def test_a_film_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("flac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(ImageError, match="there are no pictures in it"):
        clips.open_clip(path, 10**6)
