"""Animations and films as frames: GIF, WebP and APNG by Pillow, films by PyAV.

Frames are read and written one at a time, so that a film of any length needs the memory of a few frames. PyAV comes with the
extra `video`; without it films are refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import GifImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401  (else Pillow imports all its formats to find one)
from PIL import Image as PILImage
from torch import Tensor

from rebridge.images.atomic import reason, written_whole
from rebridge.images.image import Image, ImageError, to_samples

ANIMATED_FORMATS = ("GIF", "WEBP", "PNG")
"""Formats of animations, by their names in Pillow."""
ANIMATED_SUFFIXES = (".gif", ".webp", ".png", ".apng")
"""Suffixes under which animations are read and written."""
FILM_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
"""Suffixes of films that are read."""
WRITTEN_FILMS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes of films that are written, with H.264 where it is there, and their formats."""
WRITTEN_MOVING = (*ANIMATED_SUFFIXES, *WRITTEN_FILMS)
"""Suffixes of clips that are written."""
FILM_TICK = Fraction(1, 90_000)
"""Seconds by which the times of frames are counted."""
CONVERTED = (1, 4, 5, 7, 9)
"""Matrices of H.273 that colours are converted by; others are taken as BT.601, as they are read."""
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
        times: of each frame of a film, in seconds; empty where the file does not tell.
        colours: matrix, primaries and transfer curve of a film, as numbers of ITU-T H.273; 2 is unspecified.
        aspect: width of a pixel by its height, where a film says so.
        turn: degrees, counterclockwise, by which the frames of a film are turned to be upright.
    """

    path: Path
    width: int
    height: int
    frames: int | None
    durations: tuple[int, ...] = ()
    loop: int = 0
    rate: Fraction = Fraction(25)
    times: tuple[Fraction, ...] = ()
    colours: tuple[int, int, int] = (2, 2, 2)
    aspect: Fraction | None = None
    turn: int = 0

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
        raise ImageError(f"{path}: cannot be read as moving pictures: {_why(error)}") from error
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
                    yield _image(np.rot90(frame.to_ndarray(format="rgb24"), clip.turn // 90))
            return
        with PILImage.open(clip.path, formats=ANIMATED_FORMATS) as image:
            for number in range(len(clip.durations)):
                image.seek(number)
                has_alpha = "A" in image.getbands() or "transparency" in image.info
                yield _image(np.asarray(image.convert("RGBA" if has_alpha else "RGB")))
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{clip.path}: cannot be read as moving pictures: {_why(error)}") from error


def write_frames(path: Path, frames: Iterable[Image], clip: Clip, quality: int = 90, overwrite: bool = False) -> int:
    """Write frames with the times, the repeats and the sound of their clip.

    Nothing is left where writing fails.

    Args:
        path: the result.
        frames: of one size.
        clip: the original.
        quality: of WebP, 1 to 100.
        overwrite: replace a file that exists.

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
    try:
        with written_whole(path, overwrite) as (partial, _):
            if clip.is_film:
                _try_film(partial, clip, suffix)
                return _write_film(partial, frames, clip, suffix)
            return _write_animation(partial, frames, clip, suffix, quality)
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"{path}: cannot be written: {reason(error)}") from error


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


def _why(error: Exception) -> str:
    """The words of an error; PyAV's carry a number and the file too."""
    words = error.args[1] if len(error.args) > 1 else None
    return words.lower() if isinstance(words, str) else reason(error)


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
        first, stamps = None, []
        for packet in container.demux(stream):
            first = first or next(iter(packet.decode()), None)
            stamps += [packet.pts] if packet.size else []
        turn = 0 if first is None else round(first.rotation / 90) * 90 % 360
        code = stream.codec_context
        colours = (int(code.colorspace), int(code.color_primaries), int(code.color_trc))
        size, aspect = (stream.width, stream.height), stream.sample_aspect_ratio or None
        if turn % 180:
            size, aspect = size[::-1], aspect and 1 / aspect
    known = [stamp for stamp in stamps if stamp is not None]
    times = sorted(Fraction(stamp * stream.time_base) for stamp in known) if len(set(known)) == len(stamps) else []
    rate = Fraction(stream.average_rate or stream.base_rate or 25)
    count = len(times) or stream.frames or None
    return Clip(path, *size, count, rate=rate, times=tuple(times), colours=colours, aspect=aspect, turn=turn)


def _write_animation(path: Path, frames: Iterable[Image], clip: Clip, suffix: str, quality: int) -> int:
    pictures = [_picture(frame) for frame in frames]
    options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "loop": clip.loop}
    options["duration"] = list(clip.durations[: len(pictures)])
    form = {".gif": "GIF", ".webp": "WEBP"}.get(suffix, "PNG")
    if form == "GIF":
        options["disposal"] = 2 if pictures[0].mode == "RGBA" else 1
    pictures[0].save(path, form, **options, **({"quality": quality} if form == "WEBP" else {}))
    return len(pictures)


def _try_film(path: Path, clip: Clip, suffix: str) -> None:
    """Write the sound with one black frame, before all others are restored, which takes long."""
    black = Image(torch.zeros(3, clip.height, clip.width))
    try:
        _write_film(path, [black], clip, suffix)
    except ValueError as error:
        raise ImageError(
            f"{clip.path}: its sound or its size does not go into a film of the kind {suffix}; give the result a name "
            "that ends in .mkv, which takes any sound"
        ) from error


def _write_film(path: Path, frames: Iterable[Image], clip: Clip, suffix: str) -> int:
    """Encode frames as H.264, and copy the sound as it is."""
    av = av_module(path)
    count = 0
    form = WRITTEN_FILMS[suffix]
    with av.open(str(clip.path)) as source, av.open(str(path), "w", format=form) as target:
        stream = _film_stream(av, target, clip)
        sounds = {sound: target.add_stream_from_template(sound) for sound in source.streams.audio}
        target.metadata.update(source.metadata)
        packets = _sound(source, sounds)
        packet = next(packets, None)
        for count, frame in enumerate(frames, 1):
            moment = _moment(clip, count - 1)
            while packet is not None and packet.pts is not None and packet.pts * packet.time_base <= moment:
                target.mux(packet)
                packet = next(packets, None)
            target.mux(stream.encode(_film_frame(av, frame, clip, round(moment / stream.codec_context.time_base))))
        target.mux(stream.encode())
        while packet is not None:
            target.mux(packet)
            packet = next(packets, None)
    return count


def _film_stream(av: Any, target: Any, clip: Clip) -> Any:
    """Add a stream of pictures with the rate, the shape of pixels and the colours of a clip."""
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    stream = target.add_stream(codec, rate=clip.rate)
    code = stream.codec_context
    stream.width, stream.height = clip.width + clip.width % 2, clip.height + clip.height % 2
    stream.pix_fmt = "yuv420p"
    stream.options = {"crf": "16"} if codec == "libx264" else {"qscale": "2"}
    code.time_base = FILM_TICK if codec == "libx264" and clip.times else 1 / clip.rate
    code.colorspace, code.color_primaries, code.color_trc = clip.colours
    if clip.aspect is not None:
        code.sample_aspect_ratio = clip.aspect
    return stream


def _moment(clip: Clip, number: int) -> Fraction:
    """The time of a frame in seconds."""
    known = clip.times
    return known[number] if number < len(known) else (known[-1] if known else 0) + (number - len(known) + 1) / clip.rate


def _film_frame(av: Any, frame: Image, clip: Clip, stamp: int) -> Any:
    """Turn a frame into one that is encoded, with sides that are even."""
    samples = to_samples(frame.pixels.expand(3, -1, -1), 8)
    samples = np.pad(samples, ((0, clip.height % 2), (0, clip.width % 2), (0, 0)), mode="edge")
    made = av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), format="rgb24")
    matrix = clip.colours[0] if clip.colours[0] in CONVERTED else None
    made = made.reformat(format="yuv420p", dst_colorspace=matrix)
    made.pts = stamp
    return made


def _sound(source: Any, sounds: dict[Any, Any]) -> Iterator[Any]:
    """Read the packets of sound, each for the stream it goes to."""
    for packet in source.demux(*sounds) if sounds else ():
        if packet.dts is not None:
            packet.stream = sounds[packet.stream]
            yield packet


def _image(samples: np.ndarray) -> Image:
    pixels = torch.from_numpy(samples.copy()).permute(2, 0, 1).float() / 255
    return Image(pixels[:3], alpha=pixels[3:] if len(pixels) > 3 else None)


def _picture(frame: Image) -> PILImage.Image:
    planes: list[Tensor] = [frame.pixels.expand(3, -1, -1)] + ([] if frame.alpha is None else [frame.alpha])
    return PILImage.fromarray(np.ascontiguousarray(to_samples(torch.cat(planes), 8)))
