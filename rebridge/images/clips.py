"""Animations and films as frames: GIF, WebP and APNG by Pillow, films by PyAV.

Frames are read and written one at a time, so that a film of any length needs the memory of a few frames. PyAV comes with the
extra `video`; without it films are refused with a sentence.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from rebridge.images.atomic import reason
from rebridge.images.image import Image, ImageError, to_samples

ANIMATED_FORMATS = ("GIF", "WEBP", "PNG")
"""Formats of animations, by their names in Pillow."""
ANIMATED_SUFFIXES = (".gif", ".webp", ".png", ".apng")
"""Suffixes under which animations are read and written."""
FILM_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
"""Suffixes of films that are read."""
WRITTEN_FILMS = (".mp4", ".mov", ".mkv")
"""Suffixes of films that are written, with H.264 where it is there."""
WRITTEN_MOVING = (*ANIMATED_SUFFIXES, *WRITTEN_FILMS)
"""Suffixes of clips that are written."""
FILMS_NEED = "films need the package 'av': pip install 'rebridge[video]'"


@dataclass(frozen=True)
class Clip:
    """A description of moving pictures, before their frames are read.

    Attributes:
        path: the file.
        width, height: in pixels.
        frames: how many there are, or None where only reading tells.
        durations: of each frame of an animation, in milliseconds; empty for a film.
        loop: how often an animation repeats, 0 for ever.
        rate: frames per second of a film.
    """

    path: Path
    width: int
    height: int
    frames: int | None
    durations: tuple[int, ...] = ()
    loop: int = 0
    rate: Fraction = Fraction(25)

    @property
    def is_film(self) -> bool:
        """Whether it is a film, with a codec and perhaps sound."""
        return not self.durations


def is_clip(path: Path) -> bool:
    """Tell whether a file has several frames, or the name of a film."""
    if path.suffix.lower() in FILM_SUFFIXES:
        return True
    if path.suffix.lower() not in ANIMATED_SUFFIXES or not path.is_file():
        return False
    try:
        with PILImage.open(path, formats=ANIMATED_FORMATS) as image:
            return _frame_count(image) > 1
    except Exception:  # what cannot be opened is told when it is read as a picture
        return False


def clip_suffix(path: Path) -> str:
    """Return the suffix of a clip's result: its own if written, else .mp4."""
    suffix = path.suffix.lower()
    return path.suffix if suffix in (*ANIMATED_SUFFIXES, *WRITTEN_FILMS) else ".mp4"


def open_clip(path: Path, max_pixels: int) -> Clip:
    """Read what is known of a clip.

    Args:
        path: an animation or a film.
        max_pixels: most pixels of a frame.

    Raises:
        ImageError: one sentence.
    """
    try:
        clip = _open_film(path) if path.suffix.lower() in FILM_SUFFIXES else _open_animation(path)
    except ImageError:
        raise
    except Exception as error:  # decoders answer damaged bytes with exceptions of every kind
        raise ImageError(f"{path}: cannot be read as moving pictures: {reason(error)}") from error
    if clip.width * clip.height > max_pixels:
        raise ImageError(f"{path}: {clip.width} x {clip.height} pixels are more than the limit of {max_pixels:,}")
    return clip


def read_frames(clip: Clip) -> Iterator[Image]:
    """Read the frames one after the other.

    Raises:
        ImageError: the file is damaged.
    """
    try:
        if clip.is_film:
            with av_module(clip.path).open(str(clip.path)) as container:
                for frame in container.decode(video=0):
                    yield _image(frame.to_ndarray(format="rgb24"))
            return
        with PILImage.open(clip.path, formats=ANIMATED_FORMATS) as image:
            for number in range(len(clip.durations)):
                image.seek(number)
                has_alpha = "A" in image.getbands() or "transparency" in image.info
                yield _image(np.asarray(image.convert("RGBA" if has_alpha else "RGB")))
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{clip.path}: cannot be read as moving pictures: {reason(error)}") from error


def write_frames(path: Path, frames: Iterable[Image], clip: Clip, quality: int = 90) -> int:
    """Write frames with the times, the repeats and the sound of their clip.

    Nothing is left where writing fails.

    Args:
        path: the result; one that exists is replaced.
        frames: of one size.
        clip: the original.
        quality: of WebP, 1 to 100.

    Returns:
        The number of frames.

    Raises:
        ImageError: the format does not fit, or the disk refuses.
    """
    suffix = path.suffix.lower()
    is_written = suffix in (WRITTEN_FILMS if clip.is_film else ANIMATED_SUFFIXES)
    if not is_written:
        known = ", ".join(WRITTEN_FILMS if clip.is_film else ANIMATED_SUFFIXES)
        raise ImageError(f"{path}: {'films' if clip.is_film else 'animations'} are written as {known}")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".rebridge-", suffix=suffix)
    os.close(handle)
    try:
        write = _write_film if clip.is_film else _write_animation
        count = write(Path(name), frames, clip, quality)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        raise ImageError(f"{path}: cannot be written: {reason(error)}") from error
    finally:
        Path(name).unlink(missing_ok=True)
    return count


def av_module(path: Path) -> Any:
    """Import PyAV.

    Raises:
        ImageError: it is not installed; the sentence says what adds it.
    """
    try:
        import av
    except ImportError:
        raise ImageError(f"{path}: {FILMS_NEED}") from None
    return av


def _frame_count(image: PILImage.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _open_animation(path: Path) -> Clip:
    with PILImage.open(path, formats=ANIMATED_FORMATS) as image:
        durations = []
        for number in range(_frame_count(image)):
            image.seek(number)
            image.load()  # WebP tells the time of a frame only then
            durations.append(int(image.info.get("duration", 100)) or 100)
        return Clip(path, *image.size, len(durations), tuple(durations), int(image.info.get("loop", 0)))


def _open_film(path: Path) -> Clip:
    with av_module(path).open(str(path)) as container:
        if not container.streams.video:
            raise ImageError(f"{path}: there are no pictures in it")
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.base_rate or Fraction(25)
        return Clip(path, stream.width, stream.height, stream.frames or None, rate=Fraction(rate))


def _write_animation(path: Path, frames: Iterable[Image], clip: Clip, quality: int) -> int:
    pictures = [_picture(frame) for frame in frames]
    options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "loop": clip.loop}
    options["duration"] = list(clip.durations[: len(pictures)])
    form = {".gif": "GIF", ".webp": "WEBP"}.get(path.suffix.lower(), "PNG")
    if form == "GIF":
        options["disposal"] = 2 if pictures[0].mode == "RGBA" else 1
    pictures[0].save(path, form, **options, **({"quality": quality} if form == "WEBP" else {}))
    return len(pictures)


def _write_film(path: Path, frames: Iterable[Image], clip: Clip, quality: int) -> int:
    """Encode frames as H.264, and copy the sound as it is."""
    av = av_module(path)
    count = 0
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(clip.path)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=clip.rate)
        stream.width, stream.height = clip.width + clip.width % 2, clip.height + clip.height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16"} if codec == "libx264" else {"qscale": "2"}
        sounds = {sound: target.add_stream_from_template(sound) for sound in source.streams.audio}
        for frame in frames:
            samples = to_samples(frame.pixels.expand(3, -1, -1), 8)
            samples = np.pad(samples, ((0, clip.height % 2), (0, clip.width % 2), (0, 0)), mode="edge")
            target.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), format="rgb24")))
            count += 1
        target.mux(stream.encode())
        for packet in source.demux(*sounds) if sounds else ():
            if packet.dts is not None:
                packet.stream = sounds[packet.stream]
                target.mux(packet)
    return count


def _image(samples: np.ndarray) -> Image:
    pixels = torch.from_numpy(samples.copy()).permute(2, 0, 1).float() / 255
    return Image(pixels[:3], alpha=pixels[3:] if len(pixels) > 3 else None)


def _picture(frame: Image) -> PILImage.Image:
    planes: list[Tensor] = [frame.pixels.expand(3, -1, -1)] + ([] if frame.alpha is None else [frame.alpha])
    return PILImage.fromarray(np.ascontiguousarray(to_samples(torch.cat(planes), 8)))
