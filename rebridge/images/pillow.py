"""Pictures of 8 bits through Pillow.

Pillow is only ever asked for the one format that the file's first bytes name.
Pillow would otherwise try all its plug-ins, among them one that hands PostScript to an external program.
"""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image as PILImage
from PIL import ImageCms, ImageFile

from rebridge.images.raster import Raster, check_size, plausible_dpi

_settings = threading.RLock()
_ANIMATED = ("GIF", "WEBP", "AVIF", "PNG")
_READ_AS_FAR_AS_THEY_GO = ("JPEG", "MPO", "GIF", "BMP", "DIB", "TGA", "JPEG2000")
CUT = "the file is damaged or cut short; the part of the picture that could not be read is blank"


def decode_with_pillow(data: bytes, name: str, max_pixels: int, strict: bool) -> Raster:
    """Decode a still picture of the format that Pillow calls `name`.

    Raises:
        ValueError: the file is animated, too large, or has more bits than Pillow returns.
        Exception: whatever Pillow raises for damaged data.
    """
    with opened(data, name) as image:
        check_size(image.width, image.height, max_pixels)
        if image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1:
            raise ValueError("it is an animation, and only still images can be restored")
        try:
            load(image)
            return from_pillow(image)
        except (OSError, SyntaxError, ValueError, EOFError):
            if strict or image.format not in _READ_AS_FAR_AS_THEY_GO:
                raise
    with opened(data, name) as image, _unlimited(truncated=True):  # what failed half-way may have lost its palette
        image.load()
        raster = from_pillow(image)
    if raster.samples.size > 4 and np.ptp(raster.samples[..., 0]) == 0:
        raise ValueError("the file is damaged or cut short, and nothing of the picture can be read")
    return raster._replace(notes=(*raster.notes, CUT))


@contextmanager
def opened(data: bytes, name: str) -> Iterator[PILImage.Image]:
    """Open a picture as one format, without Pillow's own size limit.

    That limit is global and cannot be passed.
    """
    with _unlimited():
        image = PILImage.open(io.BytesIO(data), formats=(name,))
    with image:
        yield image


@contextmanager
def _unlimited(truncated: bool = False) -> Iterator[None]:
    """Change Pillow's global settings for the length of one call."""
    with _settings:
        before = PILImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        PILImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, truncated or before[1]
        try:
            yield
        finally:
            PILImage.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def load(image: PILImage.Image) -> None:
    """Decode the pixels, however many; damaged ones raise what Pillow raises."""
    if image.width * image.height > 80_000_000:
        with _unlimited():
            image.load()
    else:
        image.load()


def from_pillow(image: PILImage.Image) -> Raster:
    """Convert a loaded Pillow image.

    Palettes become RGB, CMYK goes to sRGB through its profile.
    """
    icc = image.info.get("icc_profile") or None
    samples = pillow_samples(image, icc)
    comment = image.info.get("comment")
    return Raster(
        samples if samples.ndim == 3 else samples[..., None],
        format=image.format or "PNG",
        exif=image.info.get("exif") or None,
        icc=None if image.mode == "CMYK" else icc,
        xmp=image.info.get("xmp") or None,
        dpi=plausible_dpi(image.info.get("dpi")),
        comment=comment.encode() if isinstance(comment, str) else bytes(comment) if comment else None,
    )


def pillow_samples(image: PILImage.Image, icc: bytes | None) -> np.ndarray:
    """Samples (H, W) or (H, W, C) of grey, grey with alpha, RGB or RGBA.

    Raises:
        ValueError: the samples have 32 bits.
    """
    if image.mode == "CMYK":
        return np.asarray(srgb_from_cmyk(image, icc))
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("I", "F"):
        raise ValueError("its samples have 32 bits; 8 and 16 bits can be read")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        return np.asarray(image.convert("LA" if grey else "RGBA"))
    return np.asarray(image.convert("L" if grey else "RGB"))


def srgb_from_cmyk(image: PILImage.Image, icc: bytes | None) -> PILImage.Image:
    """Convert CMYK to sRGB.

    Through a profile, or by the plain formula where there is none that works.
    """
    if icc is not None:
        try:
            srgb: Any = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(icc), srgb, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")
