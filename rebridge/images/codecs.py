"""Pixels to and from the bytes of PNG, JPEG, WebP and TIFF files.

Pillow reads 16-bit RGB as 8-bit without a word, so 16-bit PNG goes through OpenCV and 16-bit TIFF through tifffile;
PNG is written here, because no library writes 16 bits, grey with alpha, EXIF and ICC profile together.
"""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tifffile
from PIL import Image as PILImage
from PIL import ImageCms

from rebridge.images import metadata

WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}

_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_SUB_DIRECTORIES = (0x8769, 0x8825)
_pillow_limit = threading.Lock()


class Raster(NamedTuple):
    """Samples and metadata of an image file.

    Attributes:
        samples: (H, W, channels) of uint8 or uint16, an even number of channels ending in alpha.
        format: "PNG", "JPEG", "WEBP", "TIFF" or another of Pillow's.
        exif: EXIF block.
        icc: colour profile.
        xmp: XMP packet.
        dpi: resolution (x, y).
        chunks: PNG chunks that are copied.
    """

    samples: np.ndarray
    format: str
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()


def decode(path: Path, max_pixels: int) -> Raster:
    """Read the first picture of a file, not yet turned upright.

    Raises:
        ValueError: a file that cannot be restored; decoders raise exceptions of other kinds too.
    """
    with open(path, "rb") as file:
        head = file.read(32)
    if not head:
        raise ValueError("the file is empty")
    if head[:4] in _TIFF_SIGNATURES:
        return _decode_tiff(path, max_pixels)
    with _open(path) as image:
        _check_size(image.width, image.height, max_pixels)
        if image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1:
            raise ValueError("it is an animation, and only still images can be restored")
        if image.format == "PNG":
            return _decode_png(path, image)
        image.load()
        return _from_pillow(image)


def encode(raster: Raster, quality: int) -> bytes:
    """Encode the bytes of a file of `raster.format`.

    Args:
        raster: uint16 samples need PNG or TIFF, alpha anything but JPEG.
        quality: 1 to 100, for JPEG and WebP.
    """
    if raster.format == "PNG":
        return _encode_png(raster)
    if raster.format == "TIFF":
        return _encode_tiff(raster)
    buffer = io.BytesIO()
    options: dict[str, Any] = {"exif": raster.exif, "icc_profile": raster.icc, "xmp": raster.xmp}
    options = {key: value for key, value in options.items() if value}
    if raster.format == "JPEG":
        # Both travel in one segment of at most 64 KB; losing oversized metadata beats losing the picture.
        for key, limit in (("exif", 65533), ("xmp", 65504)):
            if len(options.get(key, b"")) > limit:
                warnings.warn(f"the {key.upper()} data is too long for JPEG and is left out", stacklevel=3)
                del options[key]
        options |= {"quality": quality, "subsampling": 0, "optimize": True}
        if raster.dpi is not None:
            options["dpi"] = tuple(round(value) for value in raster.dpi)
    else:
        options |= {"quality": quality, "lossless": quality == 100, "exact": True}
    channels = raster.samples.shape[2]
    samples = raster.samples
    if raster.format == "WEBP" and channels < 3:
        samples = np.concatenate([samples[..., :1].repeat(3, axis=2), samples[..., 1:]], axis=2)
        if raster.icc and raster.icc[16:20] == b"GRAY":
            del options["icc_profile"]
    image = PILImage.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    image.save(buffer, raster.format, **options)
    return buffer.getvalue()


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ValueError(f"it has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise ValueError(f"{width} x {height} pixels are more than the limit of {max_pixels:,} (max_pixels)")


def _open(path: Path) -> PILImage.Image:
    """Pillow's open without Pillow's own size limit, which is global and cannot be passed."""
    with _pillow_limit:
        limit, PILImage.MAX_IMAGE_PIXELS = PILImage.MAX_IMAGE_PIXELS, None
        try:
            return PILImage.open(path)
        finally:
            PILImage.MAX_IMAGE_PIXELS = limit


def _from_pillow(image: PILImage.Image) -> Raster:
    """The 8-bit samples of a loaded Pillow image; palettes become RGB, CMYK goes to sRGB through its profile."""
    icc = image.info.get("icc_profile") or None
    samples = _pillow_samples(image, icc)
    return Raster(
        samples if samples.ndim == 3 else samples[..., None],
        format="JPEG" if image.format == "MPO" else image.format or "PNG",
        exif=image.info.get("exif") or None,
        icc=None if image.mode == "CMYK" else icc,
        xmp=image.info.get("xmp") or None,
        dpi=_plausible(image.info.get("dpi")),
    )


def _pillow_samples(image: PILImage.Image, icc: bytes | None) -> np.ndarray:
    if image.mode == "CMYK":
        return np.asarray(_srgb_from_cmyk(image, icc))
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("I", "F"):
        raise ValueError("its samples have 32 bits; 8 and 16 bits can be read")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        return np.asarray(image.convert("LA" if grey else "RGBA"))
    return np.asarray(image.convert("L" if grey else "RGB"))


def _plausible(dpi: Any) -> tuple[float, float] | None:
    if not dpi or not all(0 < float(value) < 1e6 for value in dpi):
        return None
    return float(dpi[0]), float(dpi[1])


def _srgb_from_cmyk(image: PILImage.Image, icc: bytes | None) -> PILImage.Image:
    if icc is not None:
        try:
            converted = ImageCms.profileToProfile(
                image, io.BytesIO(icc), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")


def _decode_png(path: Path, image: PILImage.Image) -> Raster:
    data = path.read_bytes()
    chunks = metadata.png_chunks(data)
    image.load()
    raster = _from_pillow(image)
    if data[24] == 16:
        raster = raster._replace(samples=_opencv(data, has_grey=data[25] in (0, 4)))
    copied = tuple(
        (name, content)
        for name, content in chunks
        if name in metadata.COPIED_PNG_CHUNKS and not content.startswith(metadata.XMP_KEYWORD)
    )
    exif = next((content for name, content in chunks if name == b"eXIf"), raster.exif)
    return raster._replace(exif=exif, chunks=copied)


def _opencv(data: bytes, has_grey: bool) -> np.ndarray:
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise ValueError("its pixels cannot be decoded")
    if samples.ndim == 2:
        return samples[..., None]
    samples = samples[..., [2, 1, 0, 3][: samples.shape[2]]]
    if has_grey:
        return np.ascontiguousarray(samples[..., [0, 3]] if samples.shape[2] == 4 else samples[..., :1])
    return np.ascontiguousarray(samples)


def _decode_tiff(path: Path, max_pixels: int) -> Raster:
    """8 bits through Pillow, which knows all compressions and colour spaces, 16 bits through tifffile."""
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        _check_size(page.imagewidth, page.imagelength, max_pixels)
        if len(tiff.pages) > 1 and sum(not getattr(other, "is_reduced", False) for other in tiff.pages) > 1:
            raise ValueError(f"it has {len(tiff.pages)} pages, and only one image at a time can be restored")
        if page.bitspersample > 8 and (page.bitspersample != 16 or page.dtype != np.uint16):
            raise ValueError(f"its samples are {page.dtype or f'{page.bitspersample}-bit'}; 8 and 16 bits can be read")
        samples = _tiff_samples(path, page) if page.bitspersample == 16 else None
        icc, xmp = (bytes(page.tags[tag].value) if tag in page.tags else None for tag in (34675, 700))
        dpi = _plausible(page.get_resolution("INCH")) if 282 in page.tags and page.resolutionunit > 1 else None
    orientation, exif = _tiff_exif(path)
    raster = Raster(
        samples=np.empty(0),
        format="TIFF",
        exif=exif,
        icc=icc,
        xmp=xmp,
        dpi=dpi,
    )
    if samples is not None:
        return raster._replace(samples=samples)
    with _open(path) as image:
        image.load()
        decoded = _from_pillow(image)
    # Pillow has turned the image upright by itself.
    exif = metadata.upright_exif(exif)[1] if exif else None
    dpi = dpi[::-1] if dpi and orientation >= 5 else dpi
    return raster._replace(samples=decoded.samples, icc=decoded.icc, exif=exif, dpi=dpi)


def _tiff_samples(path: Path, page: Any) -> np.ndarray:
    extra = tuple(page.extrasamples)
    colours = page.samplesperpixel - len(extra)
    photometric = page.photometric.name
    if (photometric, colours) not in (("MINISWHITE", 1), ("MINISBLACK", 1), ("RGB", 3)) or len(extra) > 1:
        raise ValueError(f"16-bit TIFF of kind {photometric} with {page.samplesperpixel} channels cannot be read")
    try:
        samples = page.asarray()
    except ValueError:
        # Compressions that tifffile leaves to a separate package (LZW) are in OpenCV's libtiff.
        samples = _opencv(path.read_bytes(), has_grey=colours == 1)
        if samples.dtype != np.uint16:
            raise
    if samples.ndim == 2:
        samples = samples[..., None]
    elif page.planarconfig.name == "SEPARATE" and samples.shape[0] == page.samplesperpixel:
        samples = np.moveaxis(samples, 0, -1)
    if photometric == "MINISWHITE":
        samples = np.concatenate([65535 - samples[..., :1], samples[..., 1:]], axis=2)
    if extra and int(extra[0]) == 1:
        samples = _unpremultiply(samples)
    return samples


def _unpremultiply(samples: np.ndarray) -> np.ndarray:
    alpha = samples[..., -1:].astype(np.float64)
    colour = samples[..., :-1] * (65535.0 / np.maximum(alpha, 1))
    return np.concatenate([np.rint(colour.clip(0, 65535)).astype(np.uint16), samples[..., -1:]], axis=2)


def _tiff_exif(path: Path) -> tuple[int, bytes | None]:
    """Orientation and photographic tags of a TIFF file as EXIF, without the tags of the file's own layout."""
    tags, kept = PILImage.Exif(), PILImage.Exif()
    with open(path, "rb") as file:
        tags.load_from_fp(file)
        for tag in (270, 271, 272, 274, 305, 306, 315, 33432):
            if tag in tags:
                kept[tag] = tags[tag]
        for directory in _SUB_DIRECTORIES:
            kept.get_ifd(directory).update(tags.get_ifd(directory))
    if not len(kept) and not any(kept.get_ifd(directory) for directory in _SUB_DIRECTORIES):
        return 1, None
    return int(kept.get(274, 1)), kept.tobytes()


def _encode_tiff(raster: Raster) -> bytes:
    if raster.exif and not metadata.is_sound(raster.exif):
        warnings.warn("the EXIF data is damaged and is left out", stacklevel=4)
        raster = raster._replace(exif=None)
    samples = raster.samples
    channels = samples.shape[2]
    text = metadata.exif_text_tags(raster.exif) if raster.exif else {}
    extratags: list[Any] = [(tag, "s", 0, text[tag], True) for tag in (271, 272, 315, 33432) if tag in text]
    if raster.xmp:
        extratags.append((700, "B", len(raster.xmp), raster.xmp, True))
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
    data = buffer.getvalue()
    return data if raster.exif is None else _append_exif(data, raster.exif)


def _append_exif(data: bytes, exif: bytes) -> bytes:
    """A TIFF file with the EXIF block behind its end and the placeholder tags pointing into it."""
    if len(data) > 2**32 - 2**20:
        return data  # BigTIFF: its offsets are twice as wide
    base = len(data) + len(data) % 2
    block, directories = metadata.exif_for_tiff(exif, base)
    result = bytearray(data.ljust(base, b"\0") + block)
    order = metadata.exif_byte_order(exif)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        tags: Any = tiff.pages[0].tags  # type: ignore[union-attr]
        for tag, offset in directories.items():
            entry = tags[tag - 1].offset
            struct.pack_into(order + "H", result, entry, tag)
            struct.pack_into(order + "I", result, entry + 8, offset)
    return bytes(result)


def _encode_png(raster: Raster) -> bytes:
    height, width, channels = raster.samples.shape
    bits = 8 * raster.samples.itemsize
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    if raster.icc and (raster.icc[16:20] == b"GRAY") == (channels < 3):  # PNG forbids a profile of the other kind
        parts.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(raster.icc)))
    parts += [part for part in raster.chunks if part[0] in metadata.COPIED_PNG_CHUNKS]
    if raster.dpi is not None:
        parts.append((b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in raster.dpi), 1)))
    if raster.exif:
        parts.append((b"eXIf", raster.exif.removeprefix(metadata.EXIF_PREFIX)))
    if raster.xmp:
        parts.append((b"iTXt", metadata.XMP_KEYWORD + b"\0\0\0\0" + raster.xmp))
    compressor = zlib.compressobj(6)
    for block in _filtered(raster.samples):
        parts.append((b"IDAT", compressor.compress(block)))
    parts += [(b"IDAT", compressor.flush()), (b"IEND", b"")]
    body = (metadata.png_chunk(name, content) for name, content in parts if content or name == b"IEND")
    return metadata.PNG_SIGNATURE + b"".join(body)


def _filtered(samples: np.ndarray, rows_at_once: int = 256) -> Iterator[bytes]:
    """Rows under the PNG filter (none, sub, up, Paeth) with the smallest sum of absolute differences."""
    height, _, channels = samples.shape
    step = channels * samples.itemsize
    data = np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder(">"))).view(np.uint8).reshape(height, -1)
    for top in range(0, height, rows_at_once):
        rows = data[top : top + rows_at_once]
        above = np.zeros_like(rows)
        above[1:] = rows[:-1]
        if top:
            above[0] = data[top - 1]
        left, corner = np.zeros_like(rows), np.zeros_like(rows)
        left[:, step:] = rows[:, :-step]
        corner[:, step:] = above[:, :-step]
        candidates = [rows, rows - left, rows - above, rows - _paeth(left, above, corner)]
        costs = [
            np.abs(candidate.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for candidate in candidates
        ]
        best = np.argmin(costs, axis=0)
        chosen = np.take_along_axis(np.stack(candidates), best[None, :, None], axis=0)[0]
        kinds = np.array([0, 1, 2, 4], np.uint8)[best][:, None]
        yield np.concatenate([kinds, chosen], axis=1).tobytes()


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    a, b, c = left.astype(np.int16), above.astype(np.int16), corner.astype(np.int16)
    to_left, to_above, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)
