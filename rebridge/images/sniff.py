"""The format of a file, told from its first bytes.

The suffix is only asked where a format has no mark of its own.
"""

import re
import struct

RAW_SUFFIXES = (
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf", ".rw2", ".orf", ".pef"),
    *(".srw", ".3fr", ".fff", ".iiq", ".mrw", ".x3f", ".rwl", ".erf", ".kdc", ".dcr", ".mef", ".mos"),
)
UNREADABLE_SUFFIXES = (
    *(".psd", ".psb", ".exr", ".hdr", ".pfm", ".xcf", ".kra", ".svg", ".eps", ".ps", ".ai", ".ico", ".cur", ".dds"),
    *(".fits", ".jls", ".jxr", ".wdp", ".pcx", ".wmf", ".emf", ".sgi", ".ras", ".xpm", ".qoi", ".mng", ".dcm"),
)
"""Suffixes of pictures that are not read, so that those found in a folder can be named."""
TGA_SUFFIXES = (".tga", ".icb", ".vda", ".vst")

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff\xf7", "JPEG-LS"),
    (b"\xff\xd8", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
    (b"\xff\x0a", "JXL"),
    (b"IIU\0", "RAW"),
    (b"IIRO", "RAW"),
    (b"IIRS", "RAW"),
    (b"MMOR", "RAW"),
    (b"FUJIFILMCCD-RAW", "RAW"),
    (b"II\x1a\0\0\0HEAPCCDR", "RAW"),
    (b"\0MRM", "RAW"),
    (b"FOVb", "RAW"),
)
_FOREIGN = (
    (b"8BPS", "a Photoshop document"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture with floating-point samples"),
    (b"#?RADIANCE", "a Radiance picture with floating-point samples"),
    (b"#?RGBE", "a Radiance picture with floating-point samples"),
    (b"PF\n", "a portable float map"),
    (b"Pf\n", "a portable float map"),
    (b"%PDF", "a PDF document"),
    (b"%!", "a PostScript program"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript program"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"DDS ", "a DirectDraw surface"),
    (b"\0\0\x01\0", "an icon file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\x1aE\xdf\xa3", "a Matroska film"),
    (b"II\xbc\x01", "a JPEG XR picture"),
    (b"\x93NUMPY", "a numpy array"),
    (b"gimp xcf", "a GIMP document"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
)
_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIF": (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"),
    "RAW": (b"crx ",),
}


def identify(head: bytes, suffix: str = "", tail: bytes = b"") -> str | None:
    """Name the format of a file, or None where nothing fits.

    Args:
        head: the first bytes, 4 KB are enough.
        suffix: suffix of the file name in small letters, with its dot.
        tail: the last bytes, 26 are enough.
    """
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] in _TIFF:
        return "RAW" if head[8:10] == b"CR" or suffix in RAW_SUFFIXES else "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if re.match(rb"P[1-7][\s#]", head):
        return "PNM"
    if head[4:8] == b"ftyp":
        return _brand(head)
    if foreign(head) is None and (suffix in TGA_SUFFIXES or tail[-18:-2] == b"TRUEVISION-XFILE"):
        return "TGA"
    if suffix == ".dib" and struct.unpack_from("<I", head.ljust(4, b"\0"))[0] in (12, 40, 52, 56, 64, 108, 124):
        return "DIB"
    return None


def foreign(head: bytes) -> str | None:
    """Say what a file is that is known but cannot be read as a picture.

    For example 'a PDF document'; None where nothing fits.
    """
    for signature, name in _FOREIGN:
        if head.startswith(signature):
            return name
    if head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return "a film"
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "a sound"
    return None


def _brand(head: bytes) -> str | None:
    """Format of an ISO media file by its major and compatible brands."""
    (length,) = struct.unpack_from(">I", head)
    box = head[8 : min(max(length, 16), 256)]
    brands = [box[:4], *(box[start : start + 4] for start in range(8, len(box), 4))]
    for brand in brands:
        for name, members in _BRANDS.items():
            if brand in members:
                return name
    return "HEIF" if brands[0] in (b"mif1", b"msf1", b"mif2") else None


_SUFFIXES = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "WEBP": ".webp",
    "TIFF": ".tif",
    "GIF": ".gif",
    "BMP": ".bmp",
    "DIB": ".dib",
}
_SUFFIXES |= {"JPEG2000": ".jp2", "JXL": ".jxl", "AVIF": ".avif", "HEIF": ".heic", "PNM": ".ppm", "TGA": ".tga"}
_SUFFIXES |= {"RAW": ".dng"}


def suffix_of(data: bytes) -> str:
    """Return the usual suffix of a picture, told from its bytes.

    '.picture' where its format is not known.
    """
    return _SUFFIXES.get(identify(data[:4096], "", data[-26:]) or "", ".picture")
