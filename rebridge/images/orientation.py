"""The orientation of a picture.

Found in EXIF or XMP, applied once, and then the same in both.
"""

import re

import numpy as np

from rebridge.images import metadata

_MARKS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_NAMESPACE = b"http://ns.adobe.com/tiff/1.0/"


def settle(exif: bytes | None, xmp: bytes | None) -> tuple[int, bytes | None, bytes | None]:
    """Find the orientation and set it to 1 wherever it is said.

    EXIF comes first, as the Metadata Working Group has it; XMP counts where EXIF says nothing.

    Returns:
        The orientation 1..8 that has to be applied, and both blocks for the upright picture. EXIF that is malformed
        becomes None.
    """
    said = None
    if exif:
        said = metadata.exif_orientation(exif)
        exif = metadata.upright_exif(exif)[1]
    if xmp:
        xmp = as_utf8(xmp)
        if said is None:
            said = xmp_orientation(xmp)
        xmp = upright_xmp(xmp)
    return said or 1, exif or None, xmp or None


def xmp_orientation(xmp: bytes) -> int | None:
    """Orientation 1..8 in an XMP packet, or None."""
    found = _pattern(xmp).search(xmp)
    value = int(found[2]) if found else 0
    return value if 1 <= value <= 8 else None


def upright_xmp(xmp: bytes) -> bytes:
    """Set the orientation in an XMP packet to 1."""
    return _pattern(xmp).sub(rb"\g<1>1", xmp)


def as_utf8(xmp: bytes) -> bytes:
    """Return an XMP packet in UTF-8.

    The standard allows UTF-16 and UTF-32 in some formats.
    """
    for mark, name in _MARKS:
        if xmp.startswith(mark):
            try:
                return xmp.decode(name).encode()
            except UnicodeError:
                return xmp
    return xmp


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Turn samples (H, W, C) by an orientation of the EXIF standard.

    Returns a view.
    """
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples


def _pattern(xmp: bytes) -> re.Pattern[bytes]:
    """Build the pattern of tiff:Orientation as an attribute or an element.

    Whatever prefix the packet gives the namespace.
    """
    names = {b"tiff", *re.findall(rb"xmlns:([\w.-]{1,40})\s*=\s*[\"']" + re.escape(_NAMESPACE) + rb"[\"']", xmp)}
    prefixes = b"|".join(re.escape(name) for name in sorted(names))
    return re.compile(rb"((?:" + prefixes + rb"):Orientation(?:\s*=\s*[\"']\s*|(?:\s[^<>]*)?>\s*))(\d)")
