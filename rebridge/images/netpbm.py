"""Portable pixmaps (PBM, PGM, PPM, PAM) of 1 to 16 bits, text and binary.

Pillow cuts theirs to 8 bits.
"""

import re

import numpy as np

from rebridge.images.raster import Raster, check_size, scaled

_TOKEN = re.compile(rb"(?:\s|#[^\n\r]*[\n\r]?)*([^\s#]+)")
_MAGIC = re.compile(rb"\s*P[1-7]\s")
_CHANNELS = {1: 1, 2: 1, 3: 3, 4: 1, 5: 1, 6: 3}


def decode_netpbm(data: bytes, max_pixels: int, strict: bool) -> Raster:
    """Decode the first picture of a file.

    One that is cut short is read as far as it goes, unless `strict`.
    """
    kind = data[1] - ord("0")
    if kind == 7:
        width, height, channels, maximum, start = _pam_header(data)
    else:
        channels = _CHANNELS[kind]
        fields, start = _fields(data, 2, 2 if kind in (1, 4) else 3)
        width, height, maximum = fields[0], fields[1], 1 if kind in (1, 4) else fields[2]
    check_size(width, height, max_pixels)
    if not 1 <= maximum <= 65535:
        raise ValueError(f"its largest sample value must lie between 1 and 65535, it says {maximum}")
    count = width * height * channels
    if kind <= 3:
        samples = _from_text(data[start:], count, is_bilevel=kind == 1)
        end = len(data)  # files of text hold one picture
    elif kind == 4:
        stride = -(-width // 8)
        packed = np.frombuffer(
            data, np.uint8, max(0, min(height * stride, len(data) - start - 1)), min(start + 1, len(data))
        )
        rows = packed[: len(packed) // stride * stride].reshape(-1, stride)
        samples = np.unpackbits(rows, axis=1)[:, :width].ravel()
        end = start + 1 + height * stride
    else:
        dtype = np.dtype(np.uint8 if maximum < 256 else ">u2")
        available = max(0, len(data) - start - 1) // dtype.itemsize
        samples = np.frombuffer(data, dtype, min(count, available), min(start + 1, len(data)))
        samples = samples.astype(dtype.newbyteorder("="), copy=False)
        end = start + 1 + count * dtype.itemsize
    missing = count - len(samples)
    if missing and (strict or len(samples) == 0):
        raise ValueError("the file is cut short")
    notes: tuple[str, ...] = ("its second picture is not kept",) if _MAGIC.match(data, end) else ()
    if missing:
        notes = (f"the file is cut short: {-(-missing // (width * channels))} of its {height} rows are blank",)
        samples = _filled(samples, count)
    samples = samples.reshape(height, width, channels)
    if maximum != np.iinfo(samples.dtype).max:
        samples = scaled(samples, maximum)
    if kind in (1, 4):
        samples = 255 - samples
    return Raster(np.ascontiguousarray(samples), "PNM", notes=notes)


def _fields(data: bytes, position: int, count: int) -> tuple[list[int], int]:
    """Read `count` numbers of the header; also the position behind the last."""
    numbers = []
    for _ in range(count):
        token = _TOKEN.match(data, position, position + 100_000)
        if token is None or not token[1].isdigit() or len(token[1]) > 9:
            raise ValueError("its header makes no sense")
        numbers.append(int(token[1]))
        position = token.end()
    return numbers, position


def _pam_header(data: bytes) -> tuple[int, int, int, int, int]:
    """Read the header of a PAM file.

    Returns width, height, channels, largest value and the position of the byte before the samples.
    """
    end = data.find(b"ENDHDR", 0, 100_000)
    if end < 0:
        raise ValueError("its header makes no sense")
    said: dict[bytes, bytes] = {}
    for line in data[2:end].splitlines():
        key, _, value = line.strip().partition(b" ")
        said[key] = value.strip()
    try:
        width, height, channels, maximum = (int(said[key]) for key in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    except (KeyError, ValueError):
        raise ValueError("its header makes no sense") from None
    if not 1 <= channels <= 4:
        raise ValueError(f"its {channels} channels cannot be read; 1 to 4 can")
    return width, height, channels, maximum, end + len(b"ENDHDR")


def _from_text(text: bytes, count: int, is_bilevel: bool) -> np.ndarray:
    text = re.sub(rb"#[^\n\r]*", b"", text[: 20 * count + 100_000])
    if is_bilevel:
        digits = np.frombuffer(text, np.uint8)
        return (digits[(digits == ord("0")) | (digits == ord("1"))][:count] - ord("0")).astype(np.uint8)
    words = text.split(None, count)[:count]
    try:
        values = np.array(words, dtype="S").astype(np.int64) if words else np.zeros(0, np.int64)
    except ValueError:
        raise ValueError("its samples are no numbers") from None
    return values.clip(0, 65535).astype(np.uint16)


def _filled(samples: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([samples, np.zeros(count - len(samples), samples.dtype)])
