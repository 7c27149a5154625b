"""Boxes of ISO media files: length, name, content.

AVIF, HEIF, JPEG 2000 and JPEG XL use them.
"""

import struct
from collections.abc import Iterator


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, begin, end) of the content of each box in a range.

    Stops where a box is broken.
    """
    end = len(data) if end is None else end
    while start + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, start)
        header = 8
        if length == 1 and start + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        stop = end if length == 0 else start + length
        if stop < start + header or stop > end:
            return
        yield name, start + header, stop
        start = stop


def find(data: bytes, *path: bytes) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of the content of each box at a path of names.

    For example meta, iprp, ipco, ispe.
    """
    ranges = [(0, len(data))]
    for name in path:
        ranges = [(begin, end) for outer in ranges for found, begin, end in boxes(data, *outer) if found == name]
        if name == b"meta":
            ranges = [(begin + 4, end) for begin, end in ranges]
    yield from ranges


def box(name: bytes, content: bytes) -> bytes:
    """Build one box."""
    return struct.pack(">I4s", len(content) + 8, name) + content


def heif_property(data: bytes, name: bytes) -> list[bytes]:
    """Contents of all item properties of one name in an AVIF or HEIF file."""
    return [data[begin:end] for begin, end in find(data, b"meta", b"iprp", b"ipco", name)]


def cicp_chunk(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the CICP code points of an AVIF or HEIF file as a PNG chunk.

    () where it has none or only says sRGB.
    """
    for content in heif_property(data, b"colr"):
        if content[:4] == b"nclx" and len(content) >= 10:
            primaries, transfer = struct.unpack_from(">HH", content, 4)
            if max(primaries, transfer) < 256 and (primaries, transfer) not in (
                (1, 13),
                (2, 2),
                (1, 2),
                (2, 13),
                (1, 1),
            ):
                return ((b"cICP", bytes([primaries, transfer, 0, 1])),)
    return ()
