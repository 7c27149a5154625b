"""Files of pictures that come out as they went in.

Written anew they would lose some of what they had.
"""

from pathlib import Path

from torch import Tensor

from rebridge.images import codecs, orientation, pillow
from rebridge.images.image import Image, as_floats, write_image
from rebridge.images.regular import read_regular

LOSSY = ("JPEG", "WEBP")
"""Formats in which a picture that is written anew is another one."""
SAME_BELOW = 0.5 / 255
"""Difference of values in [0, 1] below which they are the same in 8 bits."""
COMPARED_ROWS = 256
"""Rows that are compared at once."""


def write_result(
    path: str | Path,
    source: str | Path,
    before: Image,
    after: Image,
    overwrite: bool = False,
    quality: int | None = None,
) -> None:
    """Write what became of a picture; see `write_image`.

    A picture that is left as it is keeps the bytes of its file, where `untouched_file` finds that it can.

    Args:
        path: of the result.
        source: the file that the picture was read from.
        before: the picture that was read.
        after: the result.
        overwrite, quality: of `write_image`.

    Raises:
        ImageError: as `write_image`.
    """
    kept = untouched_file(source, before, after, Path(path).suffix, quality)
    write_image(path, after, overwrite, quality, kept)


def untouched_file(
    source: str | Path, before: Image, after: Image, suffix: str, quality: int | None = None
) -> bytes | None:
    """Read the file of a picture that was left as it is.

    It is to be copied instead of written anew.

    Args:
        source: the file that the picture was read from.
        before: the picture that was read.
        after: the result.
        suffix: of the file that is to be written.
        quality: that is asked for; None for that of the file.

    Returns:
        Its bytes; None where the pixels changed, or another format or quality is asked for, where the format loses nothing
        anyway, and where the file holds other pixels than were read from it: lying on their side, in CMYK, or damaged.
    """
    name = codecs.WRITABLE.get(suffix.lower())
    if quality is not None or name not in LOSSY or name != before.format or before.lossless or before.notes:
        return None
    if before.bits != 8 or not (_same(before.pixels, after.pixels) and _same(before.alpha, after.alpha)):
        return None
    try:
        data, status = read_regular(source)
        with pillow.opened(data, name) as image:
            said = image.info.get("exif") or None, image.info.get("xmp") or None
            is_plain = image.mode != "CMYK" and orientation.settle(*said)[0] == 1
    except (OSError, ValueError):  # the file is gone by now
        return None
    return data if is_plain and status.st_mtime == before.modified else None


def largest_change(before: Tensor, after: Tensor) -> float:
    """Find the largest difference of two pictures (C, H, W) at any pixel."""
    pairs = zip(before.split(COMPARED_ROWS, 1), after.split(COMPARED_ROWS, 1), strict=True)
    return max((as_floats(one) - as_floats(other)).abs().max().item() for one, other in pairs)


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    """Test if planes (C, H, W) are the same once they are rounded to 8 bits."""
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and largest_change(one, other) < SAME_BELOW
