"""Reading PNG files.

Chunks are taken apart here; Pillow and OpenCV unpack the pixels.
The decoders only ever see the chunks they need, with checksums put right, so that a damaged text or a missing end
costs no picture, and no profile or text is unpacked that nobody asked for.
"""

import contextlib
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from rebridge.images import iptc, metadata, pillow, profiles
from rebridge.images.raster import Raster, check_size

COPIED = (*metadata.COPIED_PNG_CHUNKS, b"mDCV", b"cLLI", b"tIME")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ALLOWED_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
RAW_PROFILE = b"Raw profile type "
_TEXT_LIMIT = 8_000_000


class PngHeader(NamedTuple):
    """Content of the IHDR chunk."""

    width: int
    height: int
    bits: int
    colour: int
    interlaced: bool


def decode_png(data: bytes, max_pixels: int, strict: bool) -> Raster:
    """Decode a PNG file; a damaged one as far as it can be read, unless `strict`.

    Raises:
        ValueError: one sentence that says what is wrong.
    """
    chunks, notes = scan(data)
    if strict and notes:
        raise ValueError(notes[0])
    header = _header(chunks)
    check_size(header.width, header.height, max_pixels)
    if any(name == b"acTL" and content[:4] > b"\0\0\0\1" for name, content in chunks):
        raise ValueError("it is an animation, and only still images can be restored")
    is_suspect = any("IDAT" in note or "cut short" in note for note in notes)
    samples = None
    if not is_suspect:
        try:
            samples = _pixels(header, chunks, [content for name, content in chunks if name == b"IDAT"])
        except Exception as error:
            if strict:
                raise ValueError(f"its pixels cannot be decoded ({error})") from error
    if samples is None:
        packed, missing = _salvaged(header, chunks)
        samples = _pixels(header, chunks, packed)
        if missing:
            notes.append(f"{missing} of its {header.height} rows cannot be read and are blank")
        elif not notes:
            notes.append("its IDAT chunks are damaged")
    samples = _with_transparent_colour(samples, header, chunks)
    return _described(Raster(samples, "PNG", notes=tuple(notes)), chunks)


def scan(data: bytes) -> tuple[list[tuple[bytes, bytes]], list[str]]:
    """Take a file apart into its chunks, and sentences about damage.

    Chunks are (name, content).
    Damaged chunks that the picture does not need are left out; a chunk that is cut off is kept if it holds pixels.
    """
    chunks: list[tuple[bytes, bytes]] = []
    notes: list[str] = []
    position = len(metadata.PNG_SIGNATURE)
    view = memoryview(data)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if not name.isalpha():
            break
        content = bytes(view[position + 8 : position + 8 + length])
        if position + 12 + length > len(data):
            if name == b"IDAT":
                chunks.append((name, content))
            break
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        is_damaged = checksum != zlib.crc32(content, zlib.crc32(name))
        if is_damaged:
            notes.append(f"its {name.decode()} chunk is damaged")
        if not is_damaged or name in (b"IHDR", b"PLTE", b"IDAT"):
            chunks.append((name, content))
        if name == b"IEND":
            return chunks, notes
        position += 12 + length
    return chunks, [*notes, "the file is cut short"]


def texts(chunks: list[tuple[bytes, bytes]]) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (index of the chunk, keyword, text) of every text.

    Compressed ones are unpacked up to a limit.
    """
    for index, (name, content) in enumerate(chunks):
        if name not in TEXTS:
            continue
        keyword, _, text = content.partition(b"\0")
        is_packed = name == b"zTXt"
        if is_packed:
            text = text[1:]
        elif name == b"iTXt":
            is_packed = text[:1] == b"\1"
            text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
        if is_packed:
            unpacker = zlib.decompressobj()
            try:
                text = unpacker.decompress(text, _TEXT_LIMIT)
            except zlib.error:
                continue
            if unpacker.unconsumed_tail:
                continue
        yield index, keyword, text


def _described(raster: Raster, chunks: list[tuple[bytes, bytes]]) -> Raster:
    """Add the metadata that the chunks hold."""
    said = dict(reversed(chunks))
    exif, xmp = said.get(b"eXIf"), None
    icc = profiles.inflated(said[b"iCCP"]) if b"iCCP" in said else None
    records, comment = None, None
    taken = set()
    for index, keyword, text in texts(chunks):
        if keyword == metadata.XMP_KEYWORD.rstrip(b"\0"):
            xmp = xmp or text
        elif keyword == b"Comment":
            is_latin = chunks[index][0] != b"iTXt"
            comment = comment or (text.decode("latin-1").encode() if is_latin else text)
            continue
        elif keyword.startswith(RAW_PROFILE):
            kind = keyword.removeprefix(RAW_PROFILE).lower()
            block = _from_hexadecimal(text)
            if kind in (b"exif", b"app1") and block.startswith((metadata.EXIF_PREFIX, b"II*\0", b"MM\0*")):
                exif = exif or block
            elif kind in (b"xmp", b"app1"):
                xmp = xmp or block.removeprefix(b"http://ns.adobe.com/xap/1.0/\0")
            elif kind in (b"iptc", b"8bim"):
                records = records or iptc.from_resources(block) or iptc.as_records(block)
            elif kind in (b"icc", b"icm"):
                icc = icc or block
            else:
                continue
        else:
            continue
        taken.add(index)
    dpi = None
    if len(said.get(b"pHYs", b"")) == 9:
        x, y, unit = struct.unpack(">IIB", said[b"pHYs"])
        dpi = (x * 0.0254, y * 0.0254) if unit == 1 and 0 < x < 4e7 and 0 < y < 4e7 else None
    copied = tuple(part for index, part in enumerate(chunks) if part[0] in COPIED and index not in taken)
    return raster._replace(exif=exif, icc=icc, xmp=xmp, dpi=dpi, chunks=copied, iptc=records, comment=comment)


def _from_hexadecimal(text: bytes) -> bytes:
    """Unpack ImageMagick's raw profile.

    A name, a length, and hexadecimal digits in lines.
    """
    parts = text.split(None, 2)
    try:
        return bytes.fromhex(parts[2].decode("ascii")) if len(parts) == 3 else b""
    except ValueError:
        return b""


def _header(chunks: list[tuple[bytes, bytes]]) -> PngHeader:
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise ValueError("the file is cut short" if not chunks else "its IHDR chunk is missing")
    width, height, bits, colour, packing, filters, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if bits not in _ALLOWED_BITS.get(colour, ()) or packing or filters or interlace > 1:
        raise ValueError("its IHDR chunk makes no sense")
    return PngHeader(width, height, bits, colour, bool(interlace))


def _pixels(header: PngHeader, chunks: list[tuple[bytes, bytes]], packed: list[bytes]) -> np.ndarray:
    """Decode samples (H, W, C) with all their bits.

    A transparent colour is not yet applied.
    """
    parts = [chunks[0]]
    if header.colour == 3:
        parts += [(name, content) for name, content in chunks if name in (b"PLTE", b"tRNS")]
    core = assembled([*parts, *((b"IDAT", content) for content in packed), (b"IEND", b"")])
    if header.bits == 16:
        return from_opencv(core, has_grey=header.colour in (0, 4))
    raster = pillow.decode_with_pillow(core, "PNG", header.width * header.height, strict=True)
    return raster.samples


def from_opencv(data: bytes, has_grey: bool) -> np.ndarray:
    """Decode with OpenCV and put its channels in order.

    Grey, grey and alpha, RGB or RGBA.

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    try:
        with _quiet():
            samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        samples = None
    if samples is None:
        raise ValueError("its pixels cannot be decoded")
    if samples.ndim == 2:
        return samples[..., None]
    samples = samples[..., [2, 1, 0, 3][: samples.shape[2]]]
    if has_grey:
        return np.ascontiguousarray(samples[..., [0, 3]] if samples.shape[2] == 4 else samples[..., :1])
    return np.ascontiguousarray(samples)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV from printing what is wrong with a file.

    The caller says it in a sentence.
    """
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _with_transparent_colour(samples: np.ndarray, header: PngHeader, chunks: list[tuple[bytes, bytes]]) -> np.ndarray:
    """Add alpha for the colour that a tRNS chunk names.

    It is 0 where the samples of a grey or RGB picture equal that colour.
    """
    content = next((content for name, content in chunks if name == b"tRNS"), b"")
    if header.colour not in (0, 2) or len(content) != 2 * samples.shape[2]:
        return samples
    colour = np.array(struct.unpack(f">{samples.shape[2]}H", content)) & (2**header.bits - 1)
    if header.bits < 8:
        colour = colour * (255 // (2**header.bits - 1))
    hidden = np.ones(samples.shape[:2], bool)
    for channel, value in enumerate(colour):
        hidden &= samples[..., channel] == value
    top = np.iinfo(samples.dtype).max
    return np.dstack([samples, np.where(hidden, 0, top).astype(samples.dtype)])


def _salvaged(header: PngHeader, chunks: list[tuple[bytes, bytes]]) -> tuple[list[bytes], int]:
    """Repack what can be unpacked of damaged pixels.

    What is missing is filled with zeros.

    Returns:
        Contents of IDAT chunks that decoders accept, and the number of rows that are missing.

    Raises:
        ValueError: not a single row can be read.
    """
    depth = _CHANNELS[header.colour] * header.bits
    passes = _PASSES if header.interlaced else ((0, 0, 1, 1),)
    layout = [
        (1 + -(-(-(-(header.width - x) // dx) * depth) // 8), -(-(header.height - y) // dy))
        for x, y, dx, dy in passes
        if header.width > x and header.height > y
    ]
    whole = sum(length * rows for length, rows in layout)
    stream = _unpacked(b"".join(content for name, content in chunks if name == b"IDAT"), whole)
    del stream[whole:]
    position, good_rows, rows_in_all = 0, 0, sum(rows for _, rows in layout)
    for length, rows in layout:
        for _ in range(rows):
            if position + length > len(stream) or stream[position] > 4:
                break
            position += length
            good_rows += 1
        else:
            continue
        break
    if good_rows == 0:
        raise ValueError("the file is cut short or damaged, and nothing of the picture can be read")
    del stream[position:]
    packer = zlib.compressobj(1)
    packed = [packer.compress(stream), packer.compress(bytes(whole - position)), packer.flush()]
    return packed, -(-(rows_in_all - good_rows) * header.height // rows_in_all)


def _unpacked(content: bytes, whole: int, piece: int = 4096) -> bytearray:
    """Unpack damaged pixels up to the first error.

    In pieces, and the piece with the error byte by byte.
    """
    unpacker, stream = zlib.decompressobj(), bytearray()
    start = 0
    while start < len(content) and len(stream) < whole and not unpacker.eof:
        before = unpacker.copy()
        try:
            stream += unpacker.decompress(content[start : start + piece], whole - len(stream))
        except zlib.error:
            if piece == 1:
                break
            unpacker, piece = before, 1
            continue
        start += piece
    return stream


def assembled(parts: list[tuple[bytes, bytes]]) -> bytes:
    """Put a file together from (name, content) of its chunks."""
    pieces = [metadata.PNG_SIGNATURE]
    for name, content in parts:
        checksum = zlib.crc32(content, zlib.crc32(name))
        pieces += [struct.pack(">I", len(content)), name, content, struct.pack(">I", checksum)]
    return b"".join(pieces)
