"""Camera raw files, developed by LibRaw to 16-bit sRGB; they are only read."""

import io

import numpy as np

from rebridge.images import extra, tiff_tags
from rebridge.images.raster import Raster, check_size

_SRGB_CURVE = (2.4, 12.92)


def decode_camera(data: bytes, max_pixels: int) -> Raster:
    """Develop a raw file with the camera's white balance.

    Raises:
        ValueError: LibRaw does not know the file, or it is too large.
    """
    rawpy = extra.rawpy("camera raw")
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            check_size(raw.sizes.width, raw.sizes.height, max_pixels)
            samples = raw.postprocess(
                output_bps=16,
                use_camera_wb=True,
                output_color=rawpy.ColorSpace.sRGB,
                gamma=_SRGB_CURVE,
                auto_bright_thr=0.001,
            )
    except rawpy.LibRawError as error:
        text = error.args[0] if error.args else error
        text = text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
        raise ValueError(f"LibRaw cannot develop it: {text}") from error
    exif = None
    if data[:4] in (b"II*\0", b"MM\0*"):
        exif = tiff_tags.exif_block(io.BytesIO(data), None)
    return Raster(np.asarray(samples), "RAW", exif=exif, upright=True)
