"""Files of pictures that come out as they went in.

Written anew they would lose some of what they had.
"""

from pathlib import Path

from torch import Tensor

from rebridge.images import codecs, orientation, pillow
from rebridge.images.atomic import reason, write_atomic
from rebridge.images.image import Image, ImageError, as_floats, unwritable, write_image
from rebridge.images.regular import read_regular

LOSSY = ("JPEG", "WEBP")
"""Formats in which a picture that is written anew is another one."""
SAME_BELOW = 0.5 / 255
"""Difference of values in [0, 1] below which they are the same in 8 bits."""
ROWS = 512
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
    path = Path(path)
    kept = untouched_file(source, before, after, path.suffix, quality)
    if kept is None:
        write_image(path, after, overwrite, quality)
        return
    if (problem := unwritable(path, overwrite=overwrite)) is not None:
        raise ImageError(f"{path}: {problem}")
    try:
        write_atomic(path, kept, overwrite, before.modified)
    except OSError as error:
        raise ImageError(f"{path}: cannot be written: {reason(error)}") from error


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


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    """Test if planes (C, H, W) are the same once they are rounded to 8 bits."""
    if one is None or other is None:
        return one is other
    if one.shape != other.shape:
        return False
    pairs = zip(one.split(ROWS, 1), other.split(ROWS, 1), strict=True)
    return all(bool(((as_floats(a) - as_floats(b)).abs() < SAME_BELOW).all()) for a, b in pairs if a.numel())
