"""Writing TIFF files with all metadata, EXIF directories among it.

Compressed by deflate with prediction.
"""

import io
import struct
from typing import Any

from rebridge.images import metadata
from rebridge.images.raster import Raster, comment_text, warn

_LARGEST = 2**32 - 2**20


def encode_tiff(raster: Raster) -> bytes:
    """Encode grey, grey with alpha, RGB or RGBA samples of 8 or 16 bits."""
    import tifffile

    if raster.exif and not metadata.is_sound(raster.exif):
        warn("the EXIF data is damaged and is left out", stacklevel=3)
        raster = raster._replace(exif=None)
    samples = raster.samples
    channels = samples.shape[2]
    text = metadata.exif_text_tags(raster.exif) if raster.exif else {}
    if raster.comment and 270 not in text:
        text[270] = comment_text(raster.comment).encode("ascii", "replace")
    extratags: list[Any] = [(tag, "s", 0, text[tag], True) for tag in (271, 272, 315, 33432) if tag in text]
    if raster.xmp:
        extratags.append((700, "B", len(raster.xmp), raster.xmp, True))
    if raster.iptc:
        extratags.append((33723, 7, len(raster.iptc), raster.iptc, True))
    if raster.exif:
        # tifffile refuses to write these tags, so each is written one below its number and renamed afterwards.
        extratags += [(tag - 1, "I", 1, 0, True) for tag in metadata.exif_for_tiff(raster.exif, 0)[1]]
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        samples if channels > 1 else samples[..., 0],
        byteorder=metadata.exif_byte_order(raster.exif),  # type: ignore[arg-type]
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels % 2 == 0 else None,
        compression="zlib",
        predictor=True,
        iccprofile=raster.icc,
        resolution=raster.dpi,
        resolutionunit="INCH" if raster.dpi else None,
        description=text.get(270),
        software=text.get(305),
        datetime=text[306].decode("ascii", "replace") if 306 in text else None,
        metadata=None,
        extratags=extratags,
    )
    return buffer.getvalue() if raster.exif is None else _with_exif(buffer, raster.exif)


def _with_exif(file: io.BytesIO, exif: bytes) -> bytes:
    """Append the EXIF block to a TIFF file.

    The placeholder tags are made to point into it.
    """
    import tifffile

    length = file.seek(0, io.SEEK_END)
    if length > _LARGEST:
        return file.getvalue()  # BigTIFF: its offsets are twice as wide
    base = length + length % 2
    block, directories = metadata.exif_for_tiff(exif, base)
    order = metadata.exif_byte_order(exif)
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        tags: Any = tiff.pages[0].tags  # type: ignore[union-attr]
        entries = {tag: tags[tag - 1].offset for tag in directories}
    file.seek(length)
    file.write(bytes(base - length) + block)
    for tag, entry in entries.items():
        file.seek(entry)
        file.write(struct.pack(order + "H", tag))
        file.seek(entry + 8)
        file.write(struct.pack(order + "I", directories[tag]))
    return file.getvalue()
