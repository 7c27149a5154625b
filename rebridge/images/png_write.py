"""Writing PNG files.

OpenCV filters and compresses the pixels, faster than anything else here; the chunks around them are ours, because no
library writes 16 bits, grey with alpha, EXIF and ICC profile together.
"""

import struct
import zlib

import cv2
import numpy as np

from rebridge.images import metadata
from rebridge.images.png import COPIED, RAW_PROFILE, TEXTS, assembled, scan
from rebridge.images.raster import Raster, comment_text

_WIDEST = 1_000_000
"""The most columns or rows that libpng takes."""
_LEVEL, _HASTY = 6, 1
"""Levels of compression: of pictures, and of the rows that are tried."""
_WORTH = 0.98
"""Share of the size that a search for matches must come below, as it takes longer."""
_FILTER: int | None = vars(cv2).get("IMWRITE_PNG_FILTER")
"""The option that chooses the filter, where OpenCV has it: in photographs one filter for all rows is faster than a choice
by row, and the files are hardly larger."""
_FEWEST_TRIED, _MOST_TRIED = 32, 96
"""Rows by which the way to compress is chosen; an eighth of the picture within these bounds."""


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
    """Filter and compress pixels with OpenCV; only its IDAT chunks are used.

    A filter looks at bytes, not at samples, so that grey with alpha, which OpenCV cannot write, goes as samples of
    the same number of bytes: 8 bits as grey of 16 bits, 16 bits as RGBA of 8 bits.
    """
    height, width, channels = samples.shape
    if max(height, width) > _WIDEST:
        return _packed_simply(samples)
    if channels == 2:
        stored = np.ascontiguousarray(samples, samples.dtype.newbyteorder(">")).view(np.uint8)
        if samples.itemsize == 1:
            samples = stored.reshape(height, width, 2).view(">u2").astype(np.uint16)
        else:
            samples = stored.reshape(height, width, 4)
    if samples.shape[2] > 1:
        samples = samples[..., [2, 1, 0, 3][: samples.shape[2]]]
    samples = np.ascontiguousarray(samples)
    data = _encoded(samples, _strategy(samples))
    return [content for name, content in scan(data.tobytes())[0] if name == b"IDAT"]


def _strategy(samples: np.ndarray) -> int:
    """Choose how to compress by trying some rows.

    Without the search for matches photographs are written faster, and are hardly larger or even smaller;
    drawings and ramps need it. A hasty search tells them apart: it makes hardly less of a photograph.
    """
    rows = min(max(len(samples) // 8, _FEWEST_TRIED), _MOST_TRIED)
    first = max(0, (len(samples) - rows) // 2)
    part = np.ascontiguousarray(samples[first : first + rows])
    plain, search = cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_STRATEGY_DEFAULT
    simple, searched = (len(_encoded(part, strategy, _HASTY)) for strategy in (plain, search))
    return search if searched < _WORTH * simple else plain


def _encoded(samples: np.ndarray, strategy: int, level: int = _LEVEL) -> np.ndarray:
    options = [cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, strategy]
    if strategy == cv2.IMWRITE_PNG_STRATEGY_RLE and _FILTER is not None:
        options += [_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH]
    is_done, data = cv2.imencode(".png", samples, options)
    if not is_done:
        raise ValueError("OpenCV cannot encode the pixels as PNG")
    return data


def _packed_simply(samples: np.ndarray) -> list[bytes]:
    """Compress pixels of pictures too long for libpng.

    Each is stored as its difference from the one to the left.
    """
    channels = samples.shape[2]
    step = channels * samples.itemsize
    packer, pieces = zlib.compressobj(6), []
    for row in samples:
        line = np.frombuffer(row.astype(row.dtype.newbyteorder(">")).tobytes(), np.uint8)
        difference = line.copy()
        difference[step:] -= line[:-step]
        pieces.append(packer.compress(b"\1" + difference.tobytes()))
    return [piece for piece in [*pieces, packer.flush()] if piece]
