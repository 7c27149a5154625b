"""Image files and arrays: reading, writing, metadata, and users' images."""

from typing import TYPE_CHECKING

from rebridge._lazy import lazily

if TYPE_CHECKING:
    from rebridge.images.arrays import Batch, quantise, to_batch, to_bytes
    from rebridge.images.atomic import check_folder, check_new_folder, reason, remove_leftovers, write_atomic
    from rebridge.images.image import (
        MAX_PIXELS,
        READABLE_SUFFIXES,
        WRITABLE_SUFFIXES,
        Image,
        ImageError,
        as_floats,
        encode_image,
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
    from rebridge.images.untouched import untouched_file, write_result

_IMAGE = ("MAX_PIXELS", "READABLE_SUFFIXES", "WRITABLE_SUFFIXES", "Image", "ImageError", "read_image", "result_suffix")
_PLACES = {
    "arrays": ("Batch", "quantise", "to_batch", "to_bytes"),
    "atomic": ("check_folder", "check_new_folder", "reason", "remove_leftovers", "write_atomic"),
    "image": (*_IMAGE, "as_floats", "encode_image", "to_samples", "unwritable", "write_image"),
    "raster": ("ImageWarning",),
    "regular": ("irregular",),
    "sniff": ("UNREADABLE_SUFFIXES",),
    "transparency": ("fill_hidden",),
    "untouched": ("untouched_file", "write_result"),
}

if not TYPE_CHECKING:  # type checkers see the imports above
    __getattr__ = lazily(__name__, _PLACES)

__all__ = [
    "MAX_PIXELS",
    "READABLE_SUFFIXES",
    "UNREADABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Batch",
    "Image",
    "ImageError",
    "ImageWarning",
    "as_floats",
    "check_folder",
    "check_new_folder",
    "encode_image",
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
    "untouched_file",
    "unwritable",
    "write_atomic",
    "write_image",
    "write_result",
]
