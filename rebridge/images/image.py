"""Image files in and out: pixels, bit depth, alpha and metadata.

Pixels are float32 in [0, 1]; the file's 8 or 16 bits are remembered, the EXIF orientation is applied while reading,
and EXIF, XMP, ICC profile and resolution travel with the pixels to the file that is written.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rebridge.images import codecs, metadata
from rebridge.images.atomic import reason, write_atomic

MAX_PIXELS = 200_000_000
READABLE_SUFFIXES = (*codecs.WRITABLE, ".bmp", ".gif", ".jp2", ".ppm", ".pgm", ".avif", ".tga")
WRITABLE_SUFFIXES = tuple(codecs.WRITABLE)


class ImageError(ValueError):
    """An image file that cannot be read or written.

    The message is one sentence that names the file.
    """


@dataclass(frozen=True)
class Image:
    """A still image with the metadata of its file.

    Args:
        pixels: float32 (C, H, W) in [0, 1], C = 1 (grey) or 3 (RGB), never multiplied by alpha.
        bits: 8 or 16 per sample.
        alpha: float32 (1, H, W) in [0, 1], or None.
        exif: EXIF block, with orientation 1.
        icc: colour profile.
        xmp: XMP packet.
        dpi: resolution (x, y).
        format: of the file, as Pillow names it.
        chunks: PNG chunks that are copied.
    """

    pixels: Tensor
    bits: int = 8
    alpha: Tensor | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str = "PNG"
    chunks: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def mode(self) -> str:
        """The kind of pixels: 'grey' or 'rgb'."""
        return "grey" if self.pixels.shape[0] == 1 else "rgb"

    @property
    def size(self) -> tuple[int, int]:
        """The width and the height."""
        return self.pixels.shape[2], self.pixels.shape[1]

    def with_pixels(self, pixels: Tensor, alpha: Tensor | None = None) -> "Image":
        """Return the same file with other pixels.

        Args:
            pixels: (C, H, W).
            alpha: None keeps the alpha channel there is.
        """
        return replace(self, pixels=pixels, alpha=self.alpha if alpha is None else alpha)


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image:
    """Read an 8- or 16-bit image, upright, as float32 in [0, 1].

    Grey stays grey; palettes become RGB; CMYK becomes sRGB through its profile.

    Args:
        path: of the file.
        max_pixels: larger images are refused.

    Raises:
        ImageError: a file that is missing, not an image, damaged, animated, or too large; one sentence.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path}: is a folder, not an image file")
    if not path.is_file():
        raise ImageError(f"{path}: no such file")
    try:
        raster = codecs.decode(path, max_pixels)
    except MemoryError:
        raise ImageError(f"{path}: too large for the memory of this machine") from None
    except Exception as error:  # decoders answer damaged bytes with exceptions of every kind
        raise ImageError(f"{path}: cannot be read as an image: {_explain(error)}") from error
    orientation, exif = metadata.upright_exif(raster.exif) if raster.exif else (1, None)
    samples = _upright(raster.samples, orientation)
    bits = 8 * samples.itemsize
    planes = torch.from_numpy(np.ascontiguousarray(samples.transpose(2, 0, 1), dtype=np.float32)) / (2**bits - 1)
    colours = 1 if planes.shape[0] < 3 else 3
    return Image(
        pixels=planes[:colours].contiguous(),
        bits=bits,
        alpha=planes[colours:].contiguous() if planes.shape[0] > colours else None,
        exif=exif,
        icc=raster.icc,
        xmp=metadata.upright_xmp(raster.xmp) if raster.xmp else None,
        dpi=raster.dpi[::-1] if raster.dpi and orientation >= 5 else raster.dpi,
        format=raster.format,
        chunks=raster.chunks,
    )


def write_image(path: str | Path, image: Image, overwrite: bool = False, quality: int = 95) -> None:
    """Write PNG, JPEG, WebP or TIFF as the suffix says, whole or not at all.

    16 bits stay 16 bits in PNG and TIFF and are rounded to 8 in JPEG and WebP.

    Args:
        path: of the file.
        image: what to write.
        overwrite: replace a file that exists.
        quality: 1 to 100, JPEG and WebP only; 100 makes WebP lossless.

    Raises:
        ImageError: the file exists and `overwrite` is false, the suffix is unknown, the pixels are not finite, JPEG would lose
            transparency, or the disk is full.
    """
    path = Path(path)
    name = codecs.WRITABLE.get(path.suffix.lower())
    if name is None:
        raise ImageError(f"{path}: unknown image suffix '{path.suffix}'; use one of {', '.join(WRITABLE_SUFFIXES)}")
    if not 1 <= quality <= 100:
        raise ImageError(f"quality must be between 1 and 100, got {quality}")
    if not overwrite and path.exists():
        raise ImageError(f"{path}: exists already and is not overwritten without --overwrite")
    bits = image.bits if name in ("PNG", "TIFF") else 8
    try:
        samples = _samples(image, bits)
        if name == "JPEG" and samples.shape[2] % 2 == 0:
            if samples[..., -1].min() < 2**bits - 1:
                raise ValueError("JPEG cannot hold transparency; use PNG, WebP or TIFF")
            samples = samples[..., :-1]
        # A grey profile on RGB samples would make viewers show wrong colours.
        icc = image.icc if image.icc is None or image.icc[16:20] != b"GRAY" or image.mode == "grey" else None
        raster = codecs.Raster(samples, name, image.exif, icc, image.xmp, image.dpi, image.chunks)
        write_atomic(path, codecs.encode(raster, quality), overwrite)
    except FileExistsError:
        raise ImageError(f"{path}: exists already and is not overwritten without --overwrite") from None
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(f"{path}: cannot be written: {_explain(error)}") from error


def to_samples(pixels: Tensor, bits: int) -> np.ndarray:
    """Convert (C, H, W) in [0, 1] to (H, W, C) integers, rounded to nearest.

    Args:
        pixels: floats; they are clamped.
        bits: 8 for uint8, 16 for uint16.
    """
    top = 2**bits - 1
    scaled = pixels.detach().to("cpu", torch.float32).clamp(0, 1).mul(top).round()
    return np.ascontiguousarray(scaled.permute(1, 2, 0).numpy().astype(np.uint8 if bits == 8 else np.uint16))


def _samples(image: Image, bits: int) -> np.ndarray:
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, got {bits}")
    if image.pixels.ndim != 3 or image.pixels.shape[0] not in (1, 3) or image.pixels.numel() == 0:
        raise ValueError(f"pixels must have shape (1, H, W) or (3, H, W), got {tuple(image.pixels.shape)}")
    planes = [image.pixels.detach().cpu().float()]
    if image.alpha is not None:
        if image.alpha.shape != (1, *image.pixels.shape[1:]):
            raise ValueError(f"alpha {tuple(image.alpha.shape)} does not fit pixels {tuple(image.pixels.shape)}")
        planes.append(image.alpha.detach().cpu().float())
    values = torch.cat(planes)
    if not torch.isfinite(values).all():
        raise ValueError("the pixels contain NaN or infinite values")
    return to_samples(values, bits)


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Samples (H, W, C) as they should be seen, by the eight orientations of the EXIF standard."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples


def _explain(error: BaseException) -> str:
    text = reason(error)
    if "cannot identify image file" in text:
        return "no known image format"
    return text
