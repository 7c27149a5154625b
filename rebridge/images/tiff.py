"""TIFF files.

Up to 8 bits go through Pillow, which knows all compressions; more are read segment by segment.
"""

import io
import logging
from typing import Any

import numpy as np

from rebridge.images import camera, cmyk, pillow, tiff_samples, tiff_tags
from rebridge.images.raster import Raster, check_size, plausible_dpi, unpremultiplied, widened

_GREY, _RGB, _CMYK = (0, 1), 2, 5
# What is wrong with a file is said in our own words; a program that listens to the library's log still hears it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def decode_tiff(data: bytes, max_pixels: int, strict: bool) -> Raster:
    """Decode the picture of a TIFF or BigTIFF file.

    Damaged segments are left blank, unless `strict`.

    Raises:
        ValueError: the file holds several pictures or samples that cannot be read.
        Exception: whatever the decoders raise for damaged data.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        if tiff_tags.is_camera_raw(tiff):
            return camera.decode_camera(data, max_pixels)
        index, page, notes = tiff_tags.picture_page(tiff)
        check_size(page.imagewidth, page.imagelength, max_pixels)
        bits = tiff_tags.value(page, 258, 1)
        bits = max(bits) if isinstance(bits, tuple) else int(bits)
        raster = _described(data, tiff, page)._replace(notes=notes)
        is_simple = bits <= 8 and tiff_samples.pillow_reads(page) and index is not None
        if is_simple:
            try:
                return _by_pillow(data, index or 0, raster)
            except Exception:
                is_known = tiff_tags.number(page, 259, 1) in tiff_samples.COMPRESSIONS
                if (strict and is_known) or tiff_tags.number(page, 262, 1) not in (*_GREY, _RGB, _CMYK):
                    raise
        return _by_segments(page, raster, bits, strict)


def _described(data: bytes, tiff: Any, page: Any) -> Raster:
    """Metadata of a page, without samples."""
    icc, xmp = (tiff_tags.value(page, tag) for tag in (34675, 700))
    dpi = plausible_dpi(page.get_resolution("INCH")) if 282 in page.tags and page.resolutionunit > 1 else None
    try:
        if tiff.is_bigtiff and tiff.byteorder == ">":
            exif = tiff_tags.plain_exif(page)
        else:
            exif = tiff_tags.exif_block(io.BytesIO(data), page.offset, tiff.is_bigtiff, tiff.byteorder)
    except Exception:  # a damaged tag must not cost the picture
        exif = None
    return Raster(
        np.empty(0),
        "TIFF",
        exif=exif,
        icc=bytes(icc) if isinstance(icc, bytes) else None,
        xmp=bytes(xmp) if isinstance(xmp, bytes) else None,
        dpi=dpi,
        iptc=tiff_tags.records(page),
    )


def _by_pillow(data: bytes, index: int, raster: Raster) -> Raster:
    """Decode up to 8 bits.

    Pillow turns TIFF pictures upright by itself, which must not be done again.
    """
    with pillow.opened(data, "TIFF") as image:
        image.seek(index)
        turned = image.getexif().get(0x0112, 1)
        pillow.load(image)
        decoded = pillow.from_pillow(image)
    raster = raster._replace(samples=decoded.samples, icc=decoded.icc)
    if turned in range(2, 9):
        dpi = raster.dpi[::-1] if raster.dpi and turned >= 5 else raster.dpi
        raster = raster._replace(upright=True, dpi=dpi)
    return raster


def _by_segments(page: Any, raster: Raster, bits: int, strict: bool) -> Raster:
    """Decode grey, RGB and CMYK of any depth up to 16 bits.

    With the channels that TIFF calls extra samples.
    """
    kind = tiff_tags.number(page, 262, 1)
    channels = tiff_tags.number(page, 277, 1)
    extras = tiff_tags.value(page, 338, ())
    extras = tuple(int(value) for value in extras) if isinstance(extras, tuple) else (int(extras),)
    colours = channels - len(extras)
    expected = 1 if kind in _GREY else {_RGB: 3, _CMYK: 4}.get(kind, 0)
    if expected and colours != expected and channels > expected:
        extras = (0,) * (channels - expected)  # the tag is missing or wrong
        colours = expected
    if colours == 1 and len(extras) > 1 and not {1, 2} & set(extras):
        raise ValueError(f"its {channels} channels are neither grey nor RGB")
    if colours != expected or (kind == _CMYK and tiff_tags.number(page, 332, 1) != 1):
        name = getattr(page.photometric, "name", kind)
        raise ValueError(f"{bits}-bit TIFF of kind {name} with {channels} channels cannot be read")
    samples, notes = tiff_samples.read(page, strict)
    samples = widened(samples, bits)
    if kind == 0:
        samples[..., 0] = np.iinfo(samples.dtype).max - samples[..., 0]
    samples, dropped = _with_one_alpha(samples, colours, extras)
    if kind == _CMYK:
        samples = cmyk.cmyk_to_srgb(samples, raster.icc)
        raster = raster._replace(icc=None)
    return raster._replace(
        samples=np.ascontiguousarray(samples),
        depth=bits if bits not in (1, 2, 4, 8, 16) else None,
        notes=(*raster.notes, *notes, *dropped),
    )


def _with_one_alpha(samples: np.ndarray, colours: int, extras: tuple[int, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Keep the colours and the channel that is alpha.

    One that says so, or a single one that says nothing.
    """
    alpha = next((place for place, kind in enumerate(extras) if kind in (1, 2)), 0 if extras == (0,) else None)
    kept = samples if alpha == 0 and len(extras) == 1 else samples[..., :colours]
    if alpha is not None and len(extras) > 1:
        kept = np.concatenate([kept, samples[..., colours + alpha : colours + alpha + 1]], axis=2)
    if alpha is not None and extras[alpha] == 1:
        kept = unpremultiplied(kept)
    lost = len(extras) - (alpha is not None)
    return kept, ((f"{lost} of its channels beyond colour and alpha are not kept",) if lost else ())
