"""Metadata of image files: EXIF, XMP and PNG chunks, byte by byte.

EXIF is kept as the bytes that were found, with two corrections: the orientation is 1, because it has been applied to
the pixels, and the thumbnail is unlinked, because it shows the picture before it was restored.
"""

import struct
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
COPIED_PNG_CHUNKS = (b"cICP", b"cHRM", b"gAMA", b"sRGB", b"tEXt", b"zTXt", b"iTXt")
XMP_KEYWORD = b"XML:com.adobe.xmp\0"
EXIF_PREFIX = b"Exif\0\0"

_ORIENTATION, _EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def upright_exif(exif: bytes) -> tuple[int, bytes | None]:
    """Read the orientation, and set it to 1; the thumbnail is unlinked.

    Returns:
        Orientation 1 to 8 and the new EXIF; (1, None) for a malformed one.
    """
    block = bytearray(exif.removeprefix(EXIF_PREFIX))
    orientation = 1
    try:
        order = _byte_order(block)
        (start,) = struct.unpack_from(order + "I", block, 4)
        end = start + 2
        for position, tag, kind, _ in _entries(block, order, start):
            end = position + 12
            if tag == _ORIENTATION:
                number = order + ("I" if kind == 4 else "H")
                (orientation,) = struct.unpack_from(number, block, position + 8)
                struct.pack_into(number, block, position + 8, 1)
        if end + 4 <= len(block):
            struct.pack_into(order + "I", block, end, 0)
    except (struct.error, ValueError):
        return 1, None
    return (orientation if 1 <= orientation <= 8 else 1), EXIF_PREFIX + bytes(block)


def exif_orientation(exif: bytes) -> int | None:
    """Return the orientation 1..8 that EXIF states.

    None where it states none or is malformed.
    """
    block = bytearray(exif.removeprefix(EXIF_PREFIX))
    try:
        order = _byte_order(block)
        (start,) = struct.unpack_from(order + "I", block, 4)
        for position, tag, kind, _ in _entries(block, order, start):
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), block, position + 8)
                return value if 1 <= value <= 8 else None
    except (struct.error, ValueError):
        return None
    return None


def exif_of_size(exif: bytes, width: int, height: int) -> bytes:
    """Return the same EXIF for a picture of another size.

    Width and height are set where they are stated.
    """
    block = bytearray(exif.removeprefix(EXIF_PREFIX))
    sizes = {0x0100: width, 0x0101: height, 0xA002: width, 0xA003: height}
    try:
        order = _byte_order(block)
        directories = [struct.unpack_from(order + "I", block, 4)[0]]
        for directory in directories:
            for position, tag, kind, count in list(_entries(block, order, directory)):
                if tag == _EXIF_IFD and len(directories) == 1:
                    directories += struct.unpack_from(order + "I", block, position + 8)
                if tag in sizes and count == 1 and kind in (3, 4) and sizes[tag] < 256 ** (2 * kind - 4):
                    struct.pack_into(order + ("H" if kind == 3 else "I"), block, position + 8, sizes[tag])
    except (struct.error, ValueError):
        return exif
    return exif[: len(exif) - len(block)] + bytes(block)


def exif_byte_order(exif: bytes | None) -> str:
    """Return the byte order that a TIFF file must have to hold this EXIF.

    Returns:
        '<' or '>'; '<' without EXIF.
    """
    return _byte_order(bytearray(exif.removeprefix(EXIF_PREFIX))) if exif else "<"


def is_sound(exif: bytes) -> bool:
    """Test if the directories of this EXIF can be followed to their ends."""
    try:
        exif_text_tags(exif)
        exif_for_tiff(exif, 0)
    except (struct.error, ValueError, RecursionError):
        return False
    return True


def exif_text_tags(exif: bytes) -> dict[int, bytes]:
    """Read the ASCII tags of EXIF's first directory.

    Such as maker (271) and copyright (33432).
    """
    block = bytearray(exif.removeprefix(EXIF_PREFIX))
    order = _byte_order(block)
    (start,) = struct.unpack_from(order + "I", block, 4)
    tags = {}
    for position, tag, kind, count in _entries(block, order, start):
        if kind == 2:
            (offset,) = struct.unpack_from(order + "I", block, position + 8) if count > 4 else (position + 8,)
            tags[tag] = bytes(block[offset : offset + count]).rstrip(b"\0")
    return tags


def exif_for_tiff(exif: bytes, base: int) -> tuple[bytes, dict[int, int]]:
    """Prepare EXIF to be appended to a TIFF file.

    A TIFF file is an EXIF block itself, so the directories can be used in place once their offsets are shifted.

    Args:
        exif: the block.
        base: byte of the file at which it will begin.

    Returns:
        The block, and the offsets of its sub-directories by tag.
    """
    block = bytearray(exif.removeprefix(EXIF_PREFIX))
    order = _byte_order(block)
    (start,) = struct.unpack_from(order + "I", block, 4)
    found = {}
    for position, tag, _, _ in list(_entries(block, order, start)):
        if tag in (_EXIF_IFD, _GPS_IFD):
            (offset,) = struct.unpack_from(order + "I", block, position + 8)
            _shift(block, order, offset, base)
            found[tag] = base + offset
    return bytes(block), found


def _shift(block: bytearray, order: str, start: int, base: int) -> None:
    for position, tag, kind, count in list(_entries(block, order, start)):
        if tag == _INTEROP_IFD or _TYPE_SIZES.get(kind, 1) * count > 4:
            (offset,) = struct.unpack_from(order + "I", block, position + 8)
            if tag == _INTEROP_IFD:
                _shift(block, order, offset, base)
            struct.pack_into(order + "I", block, position + 8, offset + base)
    end = start + 2 + 12 * struct.unpack_from(order + "H", block, start)[0]
    if end + 4 <= len(block):
        struct.pack_into(order + "I", block, end, 0)


def _byte_order(block: bytearray) -> str:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        raise ValueError("EXIF does not begin with a TIFF header")
    return order


def _entries(block: bytearray, order: str, start: int) -> Iterator[tuple[int, int, int, int]]:
    """(position, tag, type, count) of each entry of the directory at `start`."""
    (count,) = struct.unpack_from(order + "H", block, start)
    for index in range(count):
        position = start + 2 + 12 * index
        tag, kind, length = struct.unpack_from(order + "HHI", block, position)
        yield position, tag, kind, length
