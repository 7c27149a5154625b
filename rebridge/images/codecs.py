"""From the bytes of a picture file to a raster and back.

Here it is settled which module knows which format.
"""

from pathlib import Path
from typing import Any, NamedTuple

from rebridge.images import (
    avif,
    camera,
    jpeg,
    jpeg2000,
    jpegxl,
    netpbm,
    pillow,
    png,
    png_write,
    sniff,
    tiff,
    tiff_write,
    webp,
)
from rebridge.images.raster import ImageWarning, Raster, check_size
from rebridge.images.regular import irregular, read_regular

__all__ = [
    "READABLE",
    "WRITABLE",
    "WRITTEN_FORMATS",
    "ImageWarning",
    "Raster",
    "WrittenFormat",
    "check_size",
    "decode",
    "encode",
]


class WrittenFormat(NamedTuple):
    """A format that is written, and what it can hold."""

    name: str
    bits: int = 8
    """Most bits per sample of a picture of 16 bits: 8 or 16."""
    has_alpha: bool = True
    largest: int = 2**31 - 1
    """Most columns or rows."""
    needs: str | None = None
    """Package of the extra `formats` without which it is not written."""


WRITTEN_FORMATS = {
    "PNG": WrittenFormat("PNG", 16),
    "JPEG": WrittenFormat("JPEG", has_alpha=False, largest=jpeg.LARGEST_JPEG),
    "WEBP": WrittenFormat("WebP", largest=webp.LARGEST_WEBP),
    "TIFF": WrittenFormat("TIFF", 16),
    "BMP": WrittenFormat("BMP", has_alpha=False),
    "AVIF": WrittenFormat("AVIF", 16, largest=avif.LARGEST_AVIF),
    "JPEG2000": WrittenFormat("JPEG 2000", 16),
    "JXL": WrittenFormat("JPEG XL", 16, needs="imagecodecs"),
}
"""Formats that are written."""

WRITABLE = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".bmp": "BMP",
    ".avif": "AVIF",
    ".jp2": "JPEG2000",
    ".jxl": "JXL",
}
"""Suffixes that can be written, and the format of each."""

KEPT = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".tif", ".tiff")
"""Suffixes of which a result keeps the one of its input; that of others is PNG unless asked for."""

READABLE = (
    *WRITABLE,
    *(".apng", ".mpo", ".jif", ".jfi", ".dib", ".gif", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf", ".ppm", ".pgm", ".pbm"),
    *(".pnm", ".pam", ".heic", ".heif", ".hif", ".btf", ".tf8"),
    *sniff.TGA_SUFFIXES,
    *sniff.RAW_SUFFIXES,
)
"""Suffixes under which pictures that can be read are found in folders."""

_HEAD = 4096


def decode(path: Path, max_pixels: int, strict: bool = False) -> tuple[Raster, float]:
    """Read the picture of a file, and the time of its last change.

    It is not turned upright, unless the raster says so.

    Args:
        path: the file.
        max_pixels: most pixels, checked before they are decoded.
        strict: refuse damaged files instead of reading as far as they go.

    Raises:
        ValueError: one sentence.
        Exception: whatever decoders raise for damaged bytes.
    """
    problem = irregular(path)
    if problem is not None:
        raise ValueError(problem)
    data, status = read_regular(path, 16 * max_pixels + 2**28)
    if not data:
        raise ValueError("the file is empty")
    head = data[:_HEAD]
    name = sniff.identify(head, path.suffix.lower(), data[-26:])
    if name is None:
        known = sniff.foreign(head)
        raise ValueError(f"it is {known}, which cannot be read" if known else "no known image format")
    raster = _decoders()[name](data, max_pixels, strict)
    return raster, status.st_mtime


def _decoders() -> dict[str, Any]:
    """Decoder of each format that `sniff.identify` names."""

    def by_pillow(name: str) -> Any:
        return lambda data, most, strict: pillow.decode_with_pillow(data, name, most, strict)

    return {
        "PNG": png.decode_png,
        "JPEG": jpeg.decode_jpeg,
        "WEBP": webp.decode_webp,
        "TIFF": tiff.decode_tiff,
        "GIF": by_pillow("GIF"),
        "BMP": by_pillow("BMP"),
        "DIB": by_pillow("DIB"),
        "TGA": by_pillow("TGA"),
        "PNM": netpbm.decode_netpbm,
        "JPEG2000": jpeg2000.decode_jpeg2000,
        "AVIF": avif.decode_avif,
        "HEIF": lambda data, most, strict: avif.decode_heif(data, most),
        "JXL": lambda data, most, strict: jpegxl.decode_jpegxl(data, most),
        "RAW": lambda data, most, strict: camera.decode_camera(data, most),
        "JPEG-LS": _no_jpeg_ls,
    }


def _no_jpeg_ls(data: bytes, max_pixels: int, strict: bool) -> Raster:
    raise ValueError("it is a JPEG-LS picture, which cannot be read")


def encode(raster: Raster, quality: int) -> bytes:
    """Encode samples in the format that the raster names.

    uint16 samples need a format of 16 bits, alpha anything but JPEG.
    """
    if raster.format == "PNG":
        return png_write.encode_png(raster)
    if raster.format == "TIFF":
        return tiff_write.encode_tiff(raster)
    if raster.format == "JPEG":
        return jpeg.encode_jpeg(raster, quality)
    if raster.format == "WEBP":
        return webp.encode_webp(raster, quality)
    if raster.format == "AVIF":
        return avif.encode_avif(raster, quality)
    if raster.format == "JXL":
        return jpegxl.encode_jpegxl(raster, quality)
    if raster.format == "JPEG2000":
        return jpeg2000.encode_jpeg2000(raster)
    if raster.format == "BMP":
        return webp.encode_bmp(raster)
    raise ValueError(f"files of format {raster.format} cannot be written")
