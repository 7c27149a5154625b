"""Image files and arrays: reading, writing, metadata, and users' images."""

from rebridge.images.arrays import Batch, quantise, to_batch, to_bytes
from rebridge.images.atomic import check_folder, reason, remove_leftovers, write_atomic
from rebridge.images.image import (
    MAX_PIXELS,
    READABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    Image,
    ImageError,
    read_image,
    result_suffix,
    to_samples,
    unwritable,
    write_image,
)
from rebridge.images.raster import ImageWarning
from rebridge.images.regular import irregular
from rebridge.images.sniff import UNREADABLE_SUFFIXES
from rebridge.images.transparency import fill_hidden

__all__ = [
    "MAX_PIXELS",
    "READABLE_SUFFIXES",
    "UNREADABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Batch",
    "Image",
    "ImageError",
    "ImageWarning",
    "check_folder",
    "fill_hidden",
    "irregular",
    "quantise",
    "read_image",
    "reason",
    "remove_leftovers",
    "result_suffix",
    "to_batch",
    "to_bytes",
    "to_samples",
    "unwritable",
    "write_atomic",
    "write_image",
]
