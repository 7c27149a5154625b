"""Samples of TIFF files of 1 to 16 bits, segment by segment.

In planes or not, in strips or tiles.
Pillow decodes 8 bits only; tifffile leaves LZW and packed bits to a package that need not be there. Segments that
are damaged are left blank and counted.
"""

import lzma
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rebridge.images import extra, pillow
from rebridge.images.tiff_tags import number, value

COMPRESSIONS = {
    1: "none",
    5: "LZW",
    8: "deflate",
    32946: "deflate",
    32773: "PackBits",
    34925: "LZMA",
    50000: "Zstandard",
}
_WEBP = 50001
_MOST_CHANNELS = 16
_MOST_SEGMENTS = 2**18
_LZMA_MEMORY = 2**28
_BLANK = "segments of the picture cannot be read whole and are partly blank"


@dataclass(frozen=True)
class SegmentLayout:
    """The place of the samples of a page in its segments; sizes in pixels."""

    width: int
    height: int
    channels: int
    bits: int
    is_planar: bool
    tile: tuple[int, int]
    """Width and height of a segment."""
    compression: int
    predictor: int
    is_reversed: bool
    """Whether the lowest bit of a byte comes first."""
    order: str

    @property
    def samples(self) -> int:
        """Samples per pixel within a segment."""
        return 1 if self.is_planar else self.channels

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a segment."""
        return -(-self.tile[0] * self.samples * self.bits // 8)


def layout(page: Any) -> SegmentLayout:
    """Read the layout of a page.

    Raises ValueError for samples that are not unsigned integers of 1 to 16 bits.
    """
    width, height = int(page.imagewidth), int(page.imagelength)
    channels = number(page, 277, 1)
    said = value(page, 258, 1)
    bits = set(said) if isinstance(said, tuple) else {int(said)}
    kinds = value(page, 339, 1)
    if len(bits) != 1:
        raise ValueError(f"its channels have different numbers of bits: {said}")
    if set(kinds if isinstance(kinds, tuple) else (kinds,)) - {1, 4}:
        raise ValueError(f"its samples are {page.dtype or 'not whole numbers'}; 8 and 16 bits can be read")
    (depth,) = bits
    if not 1 <= depth <= 16:
        raise ValueError(f"its samples are {page.dtype or f'{depth}-bit'}; 8 and 16 bits can be read")
    if not 1 <= channels <= _MOST_CHANNELS:
        raise ValueError(f"its {channels} channels cannot be read")
    if 322 in page.tags:
        tile = (number(page, 322, width), number(page, 323, height))
    else:
        tile = (width, min(height, number(page, 278, height)))
    if min(tile) < 1 or tile[0] * tile[1] > 4 * width * height + 2**24:
        raise ValueError("its segments have no sensible size")
    if -(-width // tile[0]) * -(-height // tile[1]) > _MOST_SEGMENTS:
        raise ValueError("it has too many segments")
    return SegmentLayout(
        *(width, height, channels, depth, number(page, 284, 1) == 2 and channels > 1, tile),
        *(number(page, 259, 1), number(page, 317, 1), number(page, 266, 1) == 2, page.parent.byteorder),
    )


def read(page: Any, strict: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read the samples of a page, and sentences about damage.

    (H, W, channels) of uint8 or uint16, not scaled.

    Raises:
        ValueError: the compression or the kind of samples is not known, or nothing can be read.
    """
    plan = layout(page)
    if plan.compression not in COMPRESSIONS:
        return _by_tifffile(page, plan), ()
    if plan.predictor not in (1, 2) or (plan.predictor == 2 and plan.bits not in (8, 16)):
        raise ValueError(f"predictor {plan.predictor} with {plan.bits} bits cannot be read")
    result = np.zeros((plan.height, plan.width, plan.channels), np.uint8 if plan.bits <= 8 else np.uint16)
    across, down = -(-plan.width // plan.tile[0]), -(-plan.height // plan.tile[1])
    planes = plan.channels if plan.is_planar else 1
    damaged, readable = 0, 0
    for index, stored in enumerate(_segments(page, across * down * planes)):
        plane, place = divmod(index, across * down)
        top, left = place // across * plan.tile[1], place % across * plan.tile[0]
        rows = min(plan.tile[1], plan.height - top) if 322 not in page.tags else plan.tile[1]
        block, is_whole = _block(stored, plan, rows)
        if not is_whole and strict:
            raise ValueError("the file is damaged or cut short")
        damaged += not is_whole
        readable += block is not None
        if block is not None:
            target = result[top : top + plan.tile[1], left : left + plan.tile[0]]
            part = block[: target.shape[0], : target.shape[1]]
            if plan.is_planar:
                target[: len(part), :, plane] = part[..., 0]
            else:
                target[: len(part)] = part
    if not readable:
        raise ValueError("the file is cut short or damaged, and nothing of the picture can be read")
    count = across * down * planes
    return result, ((f"{damaged} of {count} {_BLANK}",) if damaged else ())


def segment(page: Any, plan: SegmentLayout, index: int) -> np.ndarray | None:
    """Read one segment of a page that is not in planes, (rows, width, channels).

    None where it cannot be read whole.
    """
    across = -(-plan.width // plan.tile[0])
    top = index // across * plan.tile[1]
    rows = min(plan.tile[1], plan.height - top) if 322 not in page.tags else plan.tile[1]
    block, is_whole = _block(_stored(page, index), plan, rows)
    return block if is_whole else None


def _segments(page: Any, count: int) -> Iterator[bytes]:
    """Yield the stored bytes of each segment; empty where the file does not have them."""
    for index in range(count):
        yield _stored(page, index)


def _stored(page: Any, index: int) -> bytes:
    file = page.parent.filehandle
    offsets, lengths = page.dataoffsets, page.databytecounts
    if index >= len(offsets) or index >= len(lengths) or lengths[index] <= 0 or offsets[index] <= 0:
        return b""
    file.seek(offsets[index])
    stored: bytes = file.read(min(lengths[index], max(0, file.size - offsets[index])))
    return stored


def _block(stored: bytes, plan: SegmentLayout, rows: int) -> tuple[np.ndarray | None, bool]:
    """Unpack one segment to (rows, width, samples).

    None where nothing is readable; the second value tells whether it was whole.
    """
    size = plan.row_bytes * rows
    if plan.is_reversed and plan.compression != 5:
        stored = _reversed(stored)
    try:
        data = _decompressed(stored, plan, rows, size)
    except (ValueError, OSError, SyntaxError, EOFError, zlib.error, lzma.LZMAError, struct.error):
        data = b""
    whole_rows = min(rows, len(data) // plan.row_bytes)
    if whole_rows == 0:
        return None, False
    lines = np.frombuffer(data, np.uint8, whole_rows * plan.row_bytes).reshape(whole_rows, plan.row_bytes)
    values: np.ndarray = lines
    if plan.bits == 16:
        values = lines.view(plan.order + "u2").astype(np.uint16)
    elif plan.bits != 8:
        values = _unpacked(lines, plan.bits, plan.tile[0] * plan.samples)
    values = values.reshape(whole_rows, plan.tile[0], plan.samples)
    if plan.predictor == 2:
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    return values, whole_rows == rows


def _unpacked(lines: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Unpack samples of any number of bits, highest bit first.

    Rows begin at whole bytes.
    """
    dtype = np.uint8 if bits <= 8 else np.uint16
    result = np.zeros((len(lines), count), dtype)
    for first in range(0, len(lines), 64):
        flags = np.unpackbits(lines[first : first + 64], axis=1)[:, : count * bits].reshape(-1, count, bits)
        for bit in range(bits):
            result[first : first + 64] |= np.left_shift(flags[..., bit].astype(dtype), bits - 1 - bit)
    return result


def _decompressed(stored: bytes, plan: SegmentLayout, rows: int, size: int) -> bytes:
    if plan.compression == 1:
        return stored[:size]
    if plan.compression in (8, 32946):
        unpacker = zlib.decompressobj()
        pieces, done = [], 0
        try:
            for start in range(0, len(stored), 65536):
                if done >= size:
                    break
                pieces.append(unpacker.decompress(stored[start : start + 65536], size - done))
                done += len(pieces[-1])
        except zlib.error:
            pass
        return b"".join(pieces)
    if plan.compression == 34925:
        return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(stored, size)
    return _rows_by_libtiff(stored, plan, rows) if stored else b""


def _rows_by_libtiff(stored: bytes, plan: SegmentLayout, rows: int) -> bytes:
    """Decompress as many rows of a segment as can be had: libtiff gives all that are asked for, or none."""
    try:
        return _by_libtiff(stored, plan, rows)
    except (OSError, SyntaxError, ValueError):
        whole = bisect_left(range(1, rows + 1), True, key=lambda count: not _unpacks(stored, plan, count))
        return _by_libtiff(stored, plan, whole) if whole else b""


def _unpacks(stored: bytes, plan: SegmentLayout, rows: int) -> bool:
    try:
        return bool(_by_libtiff(stored, plan, rows))
    except (OSError, SyntaxError, ValueError):
        return False


def _by_libtiff(stored: bytes, plan: SegmentLayout, rows: int) -> bytes:
    """Decompress one segment with Pillow's libtiff.

    It is wrapped as a grey picture of 8 bits.
    """
    entries = {
        256: plan.row_bytes,
        257: rows,
        258: 8,
        259: plan.compression,
        262: 1,
        266: 2 if plan.is_reversed and plan.compression == 5 else 1,
        273: 0,
        277: 1,
        278: rows,
        279: len(stored),
    }
    start = 8 + 2 + 12 * len(entries) + 4
    entries[273] = start
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, entry) for tag, entry in sorted(entries.items()))
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4) + stored
    with pillow.opened(data, "TIFF") as image:
        image.load()
        return image.tobytes()


def _by_tifffile(page: Any, plan: SegmentLayout) -> np.ndarray:
    """Decode compressions of which only imagecodecs knows, such as JPEG 2000 and LERC."""
    extra.imagecodecs(f"TIFF of compression {plan.compression}")
    samples = page.asarray()
    if samples.ndim == 2:
        samples = samples[..., None]
    elif plan.is_planar:
        samples = np.moveaxis(samples, 0, -1)
    if samples.shape != (plan.height, plan.width, plan.channels) or samples.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"TIFF of compression {plan.compression} is decoded to {samples.shape} {samples.dtype}")
    return np.asarray(samples)


def _reversed(stored: bytes) -> bytes:
    """Reverse the order of the bits in every byte."""
    table = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    return stored.translate(table)


def pillow_reads(page: Any) -> bool:
    """Tell whether Pillow gives the samples of a page unchanged.

    It drops channels that are not said to be alpha, confuses planes of fewer than 8 bits, and does not know BigTIFF
    of the higher byte order or WebP within TIFF.
    """
    if number(page, 259, 1) == _WEBP:
        return False
    extras = value(page, 338, ())
    extras = extras if isinstance(extras, tuple) else (extras,)
    if extras not in ((), (1,), (2,)) or (page.parent.is_bigtiff and page.parent.byteorder == ">"):
        return False
    return number(page, 259, 1) not in COMPRESSIONS or number(page, 284, 1) == 1
