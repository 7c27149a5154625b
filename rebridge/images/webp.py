"""WebP files, which stay lossless where they were, and BMP files."""

import io
import struct
from typing import Any

import numpy as np
from PIL import Image as PILImage

from rebridge.images import pillow
from rebridge.images.raster import Raster, warn

LARGEST_WEBP = 16383
"""The most columns or rows of a WebP file."""


def decode_webp(data: bytes, max_pixels: int, strict: bool) -> Raster:
    """Decode a WebP file."""
    raster = pillow.decode_with_pillow(data, "WEBP", max_pixels, strict)
    return raster._replace(lossless=any(name == b"VP8L" for name in _chunks(data)))


def encode_webp(raster: Raster, quality: int) -> bytes:
    """Encode samples of 8 bits.

    A quality of 100 is lossless, and so is alpha at any quality.
    """
    samples, icc = raster.samples, raster.icc
    if samples.shape[2] < 3:
        samples = np.concatenate([samples[..., :1].repeat(3, axis=2), samples[..., 1:]], axis=2)
        icc = None if icc and icc[16:20] == b"GRAY" else icc
    if raster.iptc or raster.comment:
        warn("WebP has no place for IPTC data and comments, which are left out", stacklevel=3)
    options: dict[str, Any] = {"exif": raster.exif, "icc_profile": icc, "xmp": raster.xmp}
    options = {key: value for key, value in options.items() if value}
    buffer = io.BytesIO()
    image = PILImage.fromarray(samples)
    image.save(buffer, "WEBP", quality=quality, lossless=quality == 100, exact=True, **options)
    return buffer.getvalue()


def encode_bmp(raster: Raster) -> bytes:
    """Encode samples of 8 bits as BMP, which holds nothing but pixels and resolution."""
    samples = raster.samples
    if raster.icc or raster.exif or raster.xmp or raster.iptc or raster.comment:
        warn("BMP has no place for metadata and colour profiles, which are left out", stacklevel=3)
    image = PILImage.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    buffer = io.BytesIO()
    image.save(buffer, "BMP", dpi=tuple(raster.dpi or (96, 96)))
    return buffer.getvalue()


def _chunks(data: bytes) -> list[bytes]:
    """Names of the RIFF chunks of a file."""
    names, position = [], 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        names.append(name)
        position += 8 + length + length % 2
    return names
