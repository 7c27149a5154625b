"""Image files and arrays: reading, writing, metadata, and users' images."""

from rebridge.images.arrays import Batch, quantise, to_batch, to_bytes
from rebridge.images.atomic import reason, write_atomic
from rebridge.images.image import (
    MAX_PIXELS,
    READABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    Image,
    ImageError,
    read_image,
    to_samples,
    write_image,
)

__all__ = [
    "MAX_PIXELS",
    "READABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Batch",
    "Image",
    "ImageError",
    "quantise",
    "read_image",
    "reason",
    "to_batch",
    "to_bytes",
    "to_samples",
    "write_atomic",
    "write_image",
]
