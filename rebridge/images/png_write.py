"""Writing PNG files.

ISA-L, which is made for speed, compresses photographs; zlib, which searches longer, drawings. The filters before them and the
chunks around them are ours, because no library writes 16 bits, grey with alpha, EXIF and ICC profile together.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from rebridge.images import metadata
from rebridge.images.png import COPIED, RAW_PROFILE, TEXTS, assembled
from rebridge.images.raster import Raster, comment_text

try:
    from isal import isal_zlib as fast
except ImportError:  # where there is none for the processor
    fast = zlib  # type: ignore[misc]

_FAST, _SMALL = 1, 6
"""Levels of compression: of photographs, where more makes files hardly smaller, and of drawings by zlib."""
_NONE, _LEFT, _ABOVE = 0, 1, 2
"""Filters by PNG's numbers: a row as it is, as differences to the pixels at the left, or to those above."""
_BAND = 2**20
"""Most bytes that are filtered at once; at least a row."""
_FEWEST_TRIED, _MOST_TRIED = 32, 96
"""Rows by which it is decided whether to filter; an eighth of the picture within these bounds."""


def encode_png(raster: Raster) -> bytes:
    """Encode grey or RGB samples of 8 or 16 bits with all metadata.

    With or without alpha.
    """
    height, width, channels = raster.samples.shape
    bits = 8 * raster.samples.itemsize
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    if raster.icc and (raster.icc[16:20] == b"GRAY") == (channels < 3):  # PNG forbids a profile of the other kind
        parts.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(raster.icc)))
    parts += [part for part in raster.chunks if part[0] in COPIED]
    if raster.dpi is not None:
        parts.append((b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in raster.dpi), 1)))
    if raster.exif:
        parts.append((b"eXIf", raster.exif.removeprefix(metadata.EXIF_PREFIX)))
    if raster.xmp:
        parts.append((b"iTXt", metadata.XMP_KEYWORD + b"\0\0\0\0" + raster.xmp))
    if raster.iptc:
        parts.append((b"zTXt", RAW_PROFILE + b"iptc\0\0" + zlib.compress(_to_hexadecimal(b"iptc", raster.iptc))))
    has_comment = any(name in TEXTS and content.startswith(b"Comment\0") for name, content in parts)
    if raster.comment and not has_comment:
        text = comment_text(raster.comment).encode()
        parts.append((b"iTXt", b"Comment\0\0\0\0\0" + text))
    # A huge piece of metadata would not fit a chunk.
    parts = [part for part in parts if 0 < len(part[1]) < 2**31]
    return assembled([*parts, *((b"IDAT", content) for content in _packed(raster.samples)), (b"IEND", b"")])


def _to_hexadecimal(kind: bytes, block: bytes) -> bytes:
    digits = block.hex().encode()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    return b"\n%s\n%8d\n" % (kind, len(block)) + b"\n".join(lines) + b"\n"


def _packed(samples: np.ndarray) -> list[bytes]:
    """Filter and compress pixels.

    Photographs are smaller as differences, drawings and screenshots as they are: some rows are tried.
    """
    height, _, channels = samples.shape
    step = channels * samples.itemsize
    lines = np.ascontiguousarray(samples, samples.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    rows = min(max(height // 8, _FEWEST_TRIED), _MOST_TRIED)
    first = max(0, (height - rows) // 2)
    part = lines[first : first + rows]
    plain, filtered = (len(fast.compress(one.tobytes(), _FAST)) for one in (_as_they_are(part), _filtered(part, step)))
    is_drawn = plain <= filtered
    packer = zlib.compressobj(_SMALL) if is_drawn else fast.compressobj(_FAST)
    pieces = [packer.compress(band.tobytes()) for band in _bands(lines, step, not is_drawn)]
    return [piece for piece in [*pieces, packer.flush()] if piece]


def _bands(lines: np.ndarray, step: int, is_filtered: bool) -> Iterator[np.ndarray]:
    """Yield rows of bytes as they are stored, in bands that bound memory."""
    rows = max(_BAND // lines.shape[1], 1)
    for top in range(0, len(lines), rows):
        band = lines[top : top + rows]
        yield _filtered(band, step, lines[top - 1] if top else None) if is_filtered else _as_they_are(band)


def _as_they_are(lines: np.ndarray) -> np.ndarray:
    """Put the number of no filter before each row of bytes (rows, bytes)."""
    return np.pad(lines, ((0, 0), (1, 0)), constant_values=_NONE)


def _filtered(lines: np.ndarray, step: int, above: np.ndarray | None = None) -> np.ndarray:
    """Store each row as the differences that are smaller in sum: to the left, or to the row above.

    Args:
        lines: (rows, bytes), uint8.
        step: bytes of a pixel.
        above: the row before the first; None for the first of a picture.

    Returns:
        (rows, 1 + bytes): the number of the filter, and the differences modulo 256.
    """
    left, upper = lines.copy(), lines.copy()
    left[:, step:] -= lines[:, :-step]
    upper[1:] -= lines[:-1]
    if above is not None:
        upper[0] -= above
    is_left = (_sizes(left) <= _sizes(upper))[:, None]
    return np.hstack([np.where(is_left, np.uint8(_LEFT), np.uint8(_ABOVE)), np.where(is_left, left, upper)])


def _sizes(differences: np.ndarray) -> np.ndarray:
    """Sum the sizes of differences (rows, bytes), which count as -128 to 127."""
    return np.abs(differences.view(np.int8)).view(np.uint8).sum(1)
