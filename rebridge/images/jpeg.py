"""JPEG files.

Segments are read here (captions, comments, second pictures, quality), pixels by Pillow.
"""

import io
import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image as PILImage

from rebridge.images import extra, iptc, metadata, pillow
from rebridge.images.raster import Raster, check_size, warn, widened

LARGEST_JPEG = 65535
"""The most columns or rows of a JPEG file."""
_APP0, _APP1, _APP2, _APP13, _COMMENT, _SCAN, _TABLES = 0xE0, 0xE1, 0xE2, 0xED, 0xFE, 0xDA, 0xDB
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_JPEG_LS = 0xF7
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_REFERENCES = (
    re.compile(rb"<(G?Container:Directory)\b.*?</\1>", re.DOTALL),
    re.compile(rb"\s(?:hdrgm:\w+|GCamera:(?:MicroVideo|MotionPhoto)\w*)\s*=\s*(?:\"[^\"]*\"|'[^']*')"),
)
# The luminance table of the standard's annex K; libjpeg scales it by the quality.
_LUMINANCE = (
    16,
    11,
    12,
    14,
    12,
    10,
    16,
    14,
    13,
    14,
    18,
    17,
    16,
    19,
    24,
    40,
    26,
    24,
    22,
    22,
    24,
    49,
    35,
    37,
    29,
    40,
    58,
    51,
)


def decode_jpeg(data: bytes, max_pixels: int, strict: bool) -> Raster:
    """Decode a JPEG file; a cut one as far as it can be read, unless `strict`."""
    parts = list(segments(data))
    if any(marker == _JPEG_LS for marker, _, _ in parts):
        raise ValueError("it is a JPEG-LS picture, which cannot be read")
    bits, lossless = 8, False
    for marker, begin, end in parts:
        if marker in _FRAMES and end - begin >= 5:
            bits, height, width = struct.unpack_from(">BHH", data, begin)
            lossless = marker in _LOSSLESS
            if height:  # 0 is written by scanners that learn the height later
                check_size(width, height, max_pixels)
    is_plain = bits == 8 and not lossless
    raster = (
        pillow.decode_with_pillow(data, "JPEG", max_pixels, strict)
        if is_plain
        else _by_imagecodecs(data, bits, max_pixels)
    )
    shop = b"".join(
        data[begin:end].removeprefix(iptc.PHOTOSHOP)
        for marker, begin, end in parts
        if marker == _APP13 and data.startswith(iptc.PHOTOSHOP, begin, end)
    )
    comments = [data[begin:end] for marker, begin, end in parts if marker == _COMMENT]
    notes = raster.notes
    if any(marker == _APP1 and data.startswith(_EXTENDED_XMP, begin, end) for marker, begin, end in parts):
        notes += ("its extended XMP is not kept",)
    second = _behind(data, parts)
    if second:
        notes += (second,)
        raster = raster._replace(xmp=_alone(raster.xmp) if raster.xmp else None)
    return raster._replace(
        format="JPEG",
        iptc=iptc.from_resources(shop) if shop else None,
        comment=b"\n".join(comments) or None,
        lossless=lossless,
        quality=estimated_quality(data, parts),
        notes=notes,
    )


def encode_jpeg(raster: Raster, quality: int) -> bytes:
    """Encode grey or RGB samples of 8 bits, colours at full resolution."""
    options: dict[str, Any] = {"exif": raster.exif, "icc_profile": raster.icc, "xmp": raster.xmp}
    options |= {"comment": raster.comment, "extra": b""}
    options = {key: value for key, value in options.items() if value}
    # Each travels in one segment of at most 64 KB; losing oversized metadata beats losing the picture.
    for key, limit in (("exif", 65533), ("xmp", 65504), ("comment", 65533)):
        if len(options.get(key, b"")) > limit:
            warn(f"the {key.upper()} data is too long for JPEG and is left out", stacklevel=3)
            del options[key]
    if raster.iptc:
        block = iptc.to_resources(raster.iptc)
        rest = block[len(iptc.PHOTOSHOP) :]
        size = 65533 - len(iptc.PHOTOSHOP)
        pieces = [iptc.PHOTOSHOP + rest[start : start + size] for start in range(0, len(rest), size)]
        options["extra"] = b"".join(b"\xff\xed" + struct.pack(">H", len(piece) + 2) + piece for piece in pieces)
    if raster.dpi is not None:
        options["dpi"] = tuple(round(value) for value in raster.dpi)
    samples = raster.samples
    image = PILImage.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    try:
        return _encoded(image, quality=quality, optimize=True, **options)
    except OSError:  # Pillow lends an optimised file one or two bytes a pixel, which noise at high quality exceeds
        return _encoded(image, quality=quality, **options)


def _encoded(image: PILImage.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", subsampling=0, **options)
    return buffer.getvalue()


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, begin, end) of the content of each segment.

    Up to the first scan, or where they are broken.
    """
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD9:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if length < 2 or end > len(data):
            return
        yield marker, position + 4, end
        if marker == _SCAN:
            return
        position = end


def estimated_quality(data: bytes, parts: list[tuple[int, int, int]]) -> int | None:
    """Estimate the quality 1..100 from the luminance table of a file.

    It is the one that makes libjpeg use that table; None without one.
    """
    for marker, begin, end in parts:
        if marker == _TABLES and end - begin >= 65 and data[begin] == 0:
            table = np.frombuffer(data, np.uint8, len(_LUMINANCE), begin + 1).astype(float)
            scale = float(np.median(table * 100 / np.array(_LUMINANCE)))
            if (table == 1).all():
                return 100
            quality = 5000 / scale if scale > 100 else (200 - scale) / 2
            return int(np.clip(round(quality), 1, 100))
    return None


def _behind(data: bytes, parts: list[tuple[int, int, int]]) -> str | None:
    """Say what follows the picture: a second one, a gain map, a film."""
    if not parts or parts[-1][0] != _SCAN:
        return None
    end = data.find(b"\xff\xd9", parts[-1][2])
    rest = data[end + 2 :].lstrip(b"\0") if end >= 0 else b""
    start = rest.find(b"\xff\xd8\xff", 0, 70_000)
    has_index = any(marker == _APP2 and data.startswith(b"MPF\0", begin, end) for marker, begin, end in parts)
    packets = b"".join(
        data[begin:end] for marker, begin, end in parts if marker == _APP1 and data.startswith(_XMP, begin)
    )
    if b"hdrgm:" in packets and start >= 0:
        return "its gain map (the HDR version of the picture) is not kept"
    if has_index and start >= 0:
        return "its second picture is not kept"
    if b"ftyp" in rest[:70_000]:
        return "the film behind the picture is not kept"
    if start >= 0 and len(rest) > 1000:
        return "its second picture is not kept"
    return None


def _alone(xmp: bytes) -> bytes:
    """Remove references to what is no longer behind the picture.

    A gain map or a film, of which the XMP packet speaks.
    """
    for pattern in _REFERENCES:
        xmp = pattern.sub(b"", xmp)
    return xmp


def _by_imagecodecs(data: bytes, bits: int, max_pixels: int) -> Raster:
    """Decode lossless JPEG and JPEG of more than 8 bits, which Pillow does not."""
    exif = xmp = None
    icc = b""
    for marker, begin, end in segments(data):
        content = data[begin:end]
        if marker == _APP1 and content.startswith(metadata.EXIF_PREFIX):
            exif = exif or content
        elif marker == _APP1 and content.startswith(_XMP):
            xmp = xmp or content.removeprefix(_XMP)
        elif marker == _APP2 and content.startswith(b"ICC_PROFILE\0"):
            icc += content[14:]
    samples = extra.imagecodecs(f"JPEG of {bits} bits or without loss").jpeg_decode(data)
    samples = samples if samples.ndim == 3 else samples[..., None]
    check_size(samples.shape[1], samples.shape[0], max_pixels)
    if samples.shape[2] not in (1, 3):
        raise ValueError(f"JPEG of {bits} bits with {samples.shape[2]} channels cannot be read")
    return Raster(widened(samples, bits), "JPEG", exif, icc or None, xmp)
