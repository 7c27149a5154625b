"""IPTC captions and keywords as IIM records.

They stand alone or in the resource blocks that Photoshop wraps them in.
"""

import struct
from collections.abc import Iterator

PHOTOSHOP = b"Photoshop 3.0\0"
_IPTC_RESOURCE = 0x0404


def from_resources(data: bytes) -> bytes | None:
    """IIM records in Photoshop's image resource blocks, or None."""
    for kind, content in resources(data):
        if kind == _IPTC_RESOURCE:
            return as_records(content)
    return None


def as_records(data: bytes) -> bytes | None:
    """Return IIM records without padding, or None where the bytes are none.

    TIFF files often hold them as 32-bit numbers; a file of the other byte order then has them swapped by fours.
    """
    if data[:1] != b"\x1c" and data[3:4] == b"\x1c":
        data = b"".join(data[start : start + 4][::-1] for start in range(0, len(data), 4))
    return data.rstrip(b"\0") + b"\0" * _missing(data) if data[:1] == b"\x1c" else None


def to_resources(records: bytes) -> bytes:
    """Wrap IIM records in a resource block, behind Photoshop's signature."""
    header = PHOTOSHOP + b"8BIM" + struct.pack(">HHI", _IPTC_RESOURCE, 0, len(records))
    return header + records + b"\0" * (len(records) % 2)


def resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, content) of Photoshop's resource blocks.

    Stops where they are broken.
    """
    data = data.removeprefix(PHOTOSHOP)
    position = 0
    while position + 12 <= len(data) and data[position : position + 4] in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"):
        (kind,) = struct.unpack_from(">H", data, position + 4)
        name = 1 + data[position + 6]
        position += 6 + name + name % 2
        if position + 4 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, position)
        content = data[position + 4 : position + 4 + length]
        if len(content) < length:
            return
        yield kind, content
        position += 4 + length + length % 2


def _missing(data: bytes) -> int:
    """Count the zero bytes at the end that belong to the last record.

    Stripping the padding must not cut them.
    """
    position, end = 0, 0
    while position + 5 <= len(data) and data[position] == 0x1C:
        (length,) = struct.unpack_from(">H", data, position + 3)
        if length & 0x8000:
            return len(data) - len(data.rstrip(b"\0"))
        position = end = position + 5 + length
    return max(0, min(end, len(data)) - len(data.rstrip(b"\0")))
