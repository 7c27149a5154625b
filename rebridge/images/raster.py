"""The raster: decoded samples of one picture with what its file says about them."""

import warnings
from typing import NamedTuple

import numpy as np


class ImageWarning(UserWarning):
    """Something in a picture file that could not be read, kept or written.

    The picture itself was.
    """


class Raster(NamedTuple):
    """Samples (H, W, channels) of uint8 or uint16 and the metadata of their file.

    An even number of channels ends in alpha, which is never multiplied into the colours.

    Attributes:
        samples: the pixels, as they lie in the file unless `upright`.
        format: name of the file format, such as "PNG".
        exif: EXIF block as found.
        icc: ICC profile of the samples.
        xmp: XMP packet as found.
        dpi: horizontal and vertical resolution.
        chunks: PNG chunks to be copied; also the way in which any format says its CICP code points.
        iptc: IPTC-IIM records.
        comment: comment of the file, in whatever encoding it was found.
        lossless: whether the file keeps every bit; None where the format leaves no doubt.
        quality: JPEG quality estimated from the quantization tables.
        depth: bits per sample in the file where these are neither 8 nor 16.
        upright: whether the decoder has already applied the orientation.
        notes: one sentence for each thing that was not read or will not be kept.
    """

    samples: np.ndarray
    format: str
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    iptc: bytes | None = None
    comment: bytes | None = None
    lossless: bool | None = None
    quality: int | None = None
    depth: int | None = None
    upright: bool = False
    notes: tuple[str, ...] = ()


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture without pixels or with more than `max_pixels`.

    Raises:
        ValueError: the size is out of bounds.
    """
    if width < 1 or height < 1:
        raise ValueError(f"it has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise ValueError(f"{width} x {height} pixels are more than the limit of {max_pixels:,} (max_pixels)")


def widened(samples: np.ndarray, bits: int) -> np.ndarray:
    """Scale samples of any number of bits to uint8 or uint16.

    Up to 8 bits become uint8; values are rounded to nearest.
    """
    if bits in (8, 16):
        return samples.astype(np.uint8 if bits == 8 else np.uint16, copy=False)
    return scaled(samples, 2**bits - 1)


def scaled(samples: np.ndarray, maximum: int) -> np.ndarray:
    """Scale samples in 0..maximum to the whole range of uint8 or uint16.

    A maximum up to 255 gives uint8; values are rounded to nearest.
    """
    dtype = np.uint8 if maximum <= 255 else np.uint16
    top = np.iinfo(dtype).max
    values = np.minimum(np.arange(2 ** (8 * samples.itemsize), dtype=np.int64), maximum)
    table = ((2 * values * top + maximum) // (2 * maximum)).astype(dtype)
    return table[samples]


def unpremultiplied(samples: np.ndarray) -> np.ndarray:
    """Divide the colours of (H, W, C) samples by their alpha, the last channel.

    8 bits are rounded down, as Pillow does it where it decodes such files.
    """
    result = samples.copy()
    for first in range(0, len(samples), 256):
        rows = samples[first : first + 256]
        if samples.dtype == np.uint8:
            alpha = np.maximum(rows[..., -1:], 1).astype(np.int64)
            colour = np.minimum(255 * rows[..., :-1].astype(np.int64) // alpha, 255)
            colour = np.where(rows[..., -1:] == 0, rows[..., :-1], colour)
        else:
            colour = rows[..., :-1] * (65535.0 / np.maximum(rows[..., -1:].astype(np.float64), 1))
            colour = np.rint(colour.clip(0, 65535))
        result[first : first + 256, :, :-1] = colour
    return result


def plausible_dpi(dpi: object) -> tuple[float, float] | None:
    """Return a resolution as two floats, or None where it makes no sense."""
    try:
        x, y = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError, AttributeError):
        return None
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None


def comment_text(comment: bytes) -> str:
    """Decode a comment, whose encoding no format states.

    UTF-8, or Latin-1 where it is none.
    """
    try:
        text = comment.decode()
    except UnicodeDecodeError:
        text = comment.decode("latin-1")
    return text.replace("\0", "")


def warn(message: str, stacklevel: int = 2) -> None:
    """Issue an `ImageWarning`."""
    warnings.warn(message, ImageWarning, stacklevel=stacklevel + 1)
