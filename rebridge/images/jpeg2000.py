"""JPEG 2000 files.

8 bits go through Pillow, more through imagecodecs or OpenCV; boxes are read and written here.
"""

import io
import struct
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image as PILImage

from rebridge.images import extra, iptc, metadata, pillow
from rebridge.images.boxes import box, boxes, find
from rebridge.images.png import from_opencv
from rebridge.images.raster import Raster, check_size, warn, widened

_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_EXIF = b"JpgTiffExif->JP2"
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")


class Codestream(NamedTuple):
    """Size and depth as the SIZ marker says them."""

    width: int
    height: int
    bits: tuple[int, ...]
    signed: bool
    reduced: bool


def decode_jpeg2000(data: bytes, max_pixels: int, strict: bool) -> Raster:
    """Decode a JP2 file or a bare codestream of up to 16 bits."""
    header = _codestream(data)
    check_size(header.width, header.height, max_pixels)
    bits = max(header.bits)
    if bits <= 8:
        raster = pillow.decode_with_pillow(data, "JPEG2000", max_pixels, strict)
    else:
        if bits > 16 or header.signed or header.reduced or len(set(header.bits)) > 1:
            raise ValueError(f"JPEG 2000 with samples of {header.bits} bits cannot be read")
        if any(find(data, b"jp2h", b"pclr")) or _enumerated(data) not in (None, 16, 17):
            raise ValueError(f"JPEG 2000 of {bits} bits in this colour space cannot be read")
        raster = Raster(_samples(data, bits, len(header.bits)), "JPEG2000")
    return _described(raster._replace(format="JPEG2000", depth=bits if bits not in (8, 16) else None), data)


def encode_jpeg2000(raster: Raster) -> bytes:
    """Encode samples without loss, with ICC profile, EXIF, XMP and IPTC."""
    height, width, channels = raster.samples.shape
    stream = _encoded(raster.samples)
    begin, end = next(find(stream, b"jp2c"))
    bits = 8 * raster.samples.itemsize
    parts = [box(b"ihdr", struct.pack(">IIHBBBB", height, width, channels, bits - 1, 7, 0, 0))]
    if raster.icc:
        parts.append(box(b"colr", b"\2\0\0" + raster.icc))
    else:
        parts.append(box(b"colr", b"\1\0\0" + struct.pack(">I", 17 if channels < 3 else 16)))
    if channels % 2 == 0:
        kinds = [(index, 0, index + 1) for index in range(channels - 1)] + [(channels - 1, 1, 0)]
        parts.append(box(b"cdef", struct.pack(">H", channels) + b"".join(struct.pack(">3H", *kind) for kind in kinds)))
    if raster.dpi:
        numbers = [(round(value / 0.0254), 1) for value in raster.dpi[::-1]]
        if all(number < 65536 for number, _ in numbers):
            resolution = struct.pack(">4H2b", *(n for pair in numbers for n in pair), 0, 0)
            parts.append(box(b"res ", box(b"resc", resolution)))
    blocks = [
        box(b"uuid", kind + block)
        for kind, block in (
            (_EXIF, (raster.exif or b"").removeprefix(metadata.EXIF_PREFIX)),
            (_XMP, raster.xmp),
            (_IPTC, raster.iptc),
        )
        if block
    ]
    if raster.comment:
        warn("JPEG 2000 has no place for the comment, which is left out", stacklevel=3)
    head = _SIGNATURE + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", b"".join(parts))
    return head + b"".join(blocks) + box(b"jp2c", stream[begin:end])


def _encoded(samples: np.ndarray) -> bytes:
    """Encode samples without loss by the best package there is."""
    channels = samples.shape[2]
    plain = np.ascontiguousarray(samples if channels > 1 else samples[..., 0])
    if extra.has("imagecodecs"):
        codec = extra.imagecodecs("JPEG 2000")
        return bytes(codec.jpeg2k_encode(plain, level=0, codecformat="jp2", reversible=True))
    if samples.dtype == np.uint8:
        buffer = io.BytesIO()
        PILImage.fromarray(plain).save(buffer, "JPEG2000", no_jp2=False)
        return buffer.getvalue()
    if channels == 2:
        extra.imagecodecs("JPEG 2000 of grey with alpha")
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    options = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    is_done, array = cv2.imencode(".jp2", np.ascontiguousarray(samples[..., order]), options)
    if not is_done:  # OpenCV cannot encode pictures of fewer than 32 columns or rows
        extra.imagecodecs("JPEG 2000 of so small a picture")
    return bytes(array.tobytes())


def _codestream(data: bytes) -> Codestream:
    """Read the SIZ marker. Raises ValueError where there is none."""
    start = 0
    if data.startswith(_SIGNATURE):
        start = next((begin for begin, _ in _stream(data)), -1)
    if start < 0 or data[start : start + 4] != b"\xff\x4f\xff\x51" or len(data) < start + 42:
        raise ValueError("the file is cut short or damaged")
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    (count,) = struct.unpack_from(">H", data, start + 40)
    parts = data[start + 42 : start + 42 + 3 * count]
    if not count or len(parts) < 3 * count:
        raise ValueError("the file is cut short or damaged")
    bits = tuple((value & 0x7F) + 1 for value in parts[::3])
    steps = set(parts[1::3]) | set(parts[2::3])
    return Codestream(right - left, bottom - top, bits, any(value & 0x80 for value in parts[::3]), steps != {1})


def _stream(data: bytes) -> list[tuple[int, int]]:
    """Position of the codestream, also where the file ends within it."""
    found = list(find(data, b"jp2c"))
    position = data.find(b"jp2c\xff\x4f\xff\x51")
    return found or ([(position + 4, len(data))] if position >= 0 else [])


def _samples(data: bytes, bits: int, channels: int) -> np.ndarray:
    """Samples (H, W, C) of more than 8 bits, scaled to 16."""
    if extra.has("imagecodecs"):
        samples = extra.imagecodecs("JPEG 2000").jpeg2k_decode(data)
    else:
        if channels == 2 or bits != 16:
            extra.imagecodecs(f"JPEG 2000 of {bits} bits and {channels} channels")
        samples = from_opencv(data, has_grey=channels < 3)
    samples = samples if samples.ndim == 3 else samples[..., None]
    if samples.shape[2] > 4 or samples.dtype != np.uint16:
        raise ValueError(f"JPEG 2000 with {samples.shape[2]} channels of {samples.dtype} cannot be read")
    return widened(samples, bits)


def _enumerated(data: bytes) -> int | None:
    """Number of the enumerated colour space: 16 is sRGB, 17 grey, 18 YCC."""
    for begin, _ in find(data, b"jp2h", b"colr"):
        if data[begin] == 1:
            return int.from_bytes(data[begin + 3 : begin + 7], "big")
    return None


def _described(raster: Raster, data: bytes) -> Raster:
    """Add what the boxes say."""
    if not data.startswith(_SIGNATURE):
        return raster
    for begin, end in find(data, b"jp2h", b"colr"):
        if data[begin] == 2 and raster.icc is None:
            raster = raster._replace(icc=data[begin + 3 : end])
    for begin, end in find(data, b"jp2h", b"res ", b"resc"):
        if end - begin >= 10:
            *numbers, up, across = struct.unpack_from(">4H2b", data, begin)
            if all(numbers) and max(abs(up), abs(across)) < 20:
                y, x = numbers[0] / numbers[1] * 10.0**up, numbers[2] / numbers[3] * 10.0**across
                raster = raster._replace(dpi=(x * 0.0254, y * 0.0254))
    for name, begin, end in boxes(data):
        content = data[begin + 16 : end] if name == b"uuid" else b""
        kind = data[begin : begin + 16]
        if content and kind == _EXIF:
            raster = raster._replace(exif=metadata.EXIF_PREFIX + content.removeprefix(metadata.EXIF_PREFIX))
        elif content and kind == _XMP:
            raster = raster._replace(xmp=content)
        elif content and kind == _IPTC:
            raster = raster._replace(iptc=iptc.as_records(content))
    return raster
