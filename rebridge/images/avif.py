"""AVIF files of 8, 10 and 12 bits, and HEIC files, which are only read."""

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image as PILImage
from PIL import features

from rebridge.images import extra, metadata, pillow
from rebridge.images.boxes import cicp_chunk, heif_property
from rebridge.images.png import from_opencv
from rebridge.images.raster import Raster, check_size, warn, widened

LARGEST_AVIF = 65535
"""The most columns or rows of an AVIF file."""


def decode_avif(data: bytes, max_pixels: int, strict: bool) -> Raster:
    """Decode an AVIF file.

    Raises ValueError for animations and for what no installed package decodes.
    """
    if not features.check("avif"):
        raise ValueError("this installation of Pillow cannot read AVIF; install Pillow 11.3 or later")
    bits = _bits(data)
    if bits <= 8:
        raster = pillow.decode_with_pillow(data, "AVIF", max_pixels, strict)
    else:
        with pillow.opened(data, "AVIF") as image:
            check_size(image.width, image.height, max_pixels)
            if getattr(image, "n_frames", 1) > 1:
                raise ValueError("it is an animation, and only still images can be restored")
            info = image.info
        raster = Raster(
            _samples(data, bits), "AVIF", info.get("exif"), info.get("icc_profile"), info.get("xmp"), depth=bits
        )
    chunks = () if raster.icc else cicp_chunk(data)
    return raster._replace(format="AVIF", chunks=chunks)


def decode_heif(data: bytes, max_pixels: int) -> Raster:
    """Decode the main picture of a HEIC file.

    pillow_heif also turns it upright.
    """
    heif = extra.pillow_heif("HEIC")
    file = heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    main = file[file.primary_index]
    width, height = main.size
    check_size(width, height, max_pixels)
    samples = np.asarray(main)
    samples = samples if samples.ndim == 3 else samples[..., None]
    bits = int(main.info.get("bit_depth") or 8)
    if samples.dtype == np.uint16:
        samples = widened(samples, bits)
    notes: tuple[str, ...] = ()
    if len(file) > 1:
        notes += (f"{len(file) - 1} further pictures of the file are not kept",)
    if main.info.get("depth_images"):
        notes += ("its depth map is not kept",)
    icc = main.info.get("icc_profile")
    return Raster(
        samples,
        "HEIF",
        exif=main.info.get("exif"),
        icc=icc,
        xmp=main.info.get("xmp"),
        chunks=() if icc else cicp_chunk(data),
        depth=bits if bits not in (8, 16) else None,
        upright=True,
        notes=notes,
    )


def encode_avif(raster: Raster, quality: int) -> bytes:
    """Encode samples of 8, 10 or 12 bits.

    A quality of 100 is lossless where OpenCV or imagecodecs does it. Colours have the full resolution with 8 bits.
    """
    samples, depth = raster.samples, 8
    if samples.dtype == np.uint16:
        depth = 10 if raster.depth == 10 else 12
        samples = _narrowed(samples, depth)
    icc = raster.icc
    if samples.shape[2] == 2:
        samples = np.concatenate([samples[..., :1].repeat(3, axis=2), samples[..., 1:]], axis=2)
        icc = None if icc and icc[16:20] == b"GRAY" else icc
    if raster.iptc or raster.comment:
        warn("AVIF has no place for IPTC data and comments, which are left out", stacklevel=3)
    exif = (raster.exif or b"").removeprefix(metadata.EXIF_PREFIX)
    # OpenCV stores colours at half the resolution unless it is lossless.
    in_full_colour = depth == 8 and quality < 100 and features.check("avif")
    if hasattr(cv2, "imencodeWithMetadata") and not in_full_colour:
        return _by_opencv(samples, depth, quality, exif, raster.xmp, icc)
    if depth == 8:
        options: dict[str, Any] = {"exif": raster.exif, "icc_profile": icc, "xmp": raster.xmp}
        buffer = io.BytesIO()
        image = PILImage.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
        options = {key: value for key, value in options.items() if value}
        image.save(buffer, "AVIF", quality=quality, subsampling="4:4:4", **options)
        return buffer.getvalue()
    if exif or raster.xmp or icc:
        warn("the installed OpenCV writes AVIF of more than 8 bits without metadata, which is left out", stacklevel=3)
    codec = extra.imagecodecs("AVIF of more than 8 bits")
    level = codec.AVIF.QUALITY.LOSSLESS if quality == 100 else quality
    return bytes(codec.avif_encode(np.squeeze(samples), level=level, bitspersample=depth, speed=6))


def _by_opencv(
    samples: np.ndarray, depth: int, quality: int, exif: bytes, xmp: bytes | None, icc: bytes | None
) -> bytes:
    blocks = {cv2.IMAGE_METADATA_EXIF: exif, cv2.IMAGE_METADATA_XMP: xmp, cv2.IMAGE_METADATA_ICCP: icc}
    kinds = [kind for kind, block in blocks.items() if block]
    contents = [np.frombuffer(block, np.uint8)[None] for block in blocks.values() if block]
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[samples.shape[2]]
    options = [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_SPEED, 6]
    is_done, data = cv2.imencodeWithMetadata(
        ".avif", np.ascontiguousarray(samples[..., order]), kinds, contents, options
    )
    if not is_done:
        raise ValueError("OpenCV cannot encode the pixels as AVIF")
    return data.tobytes()


def _bits(data: bytes) -> int:
    """Bits per sample: those of the pixi property, or of the AV1 configuration."""
    said = [
        max(content[5 : 5 + content[4]]) for content in heif_property(data, b"pixi") if len(content) > 5 and content[4]
    ]
    for content in heif_property(data, b"av1C"):
        if len(content) >= 3:
            said.append((12 if content[2] & 0x20 else 10) if content[2] & 0x40 else 8)
    return max(said, default=8)


def _samples(data: bytes, bits: int) -> np.ndarray:
    """Samples of more than 8 bits, scaled to 16."""
    if extra.has("imagecodecs"):
        samples = extra.imagecodecs("AVIF").avif_decode(data)
    else:
        try:
            samples = from_opencv(data, has_grey=False)
        except ValueError:
            extra.imagecodecs(f"AVIF of {bits} bits")
            raise
    samples = samples if samples.ndim == 3 else samples[..., None]
    if samples.dtype != np.uint16:
        raise ValueError(f"AVIF of {bits} bits is only decoded as {samples.dtype} by the installed packages")
    return widened(samples, bits)


def _narrowed(samples: np.ndarray, depth: int) -> np.ndarray:
    """16-bit samples rounded to `depth` bits."""
    top = 2**depth - 1
    table = ((2 * np.arange(65536, dtype=np.int64) * top + 65535) // (2 * 65535)).astype(np.uint16)
    return table[samples]
