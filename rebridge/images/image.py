"""Image files in and out.

The one place where pixels, bit depth, alpha and metadata are read and written.
Pixels are float32 in [0, 1], or bytes where memory counts; the file's 8 or 16 bits are remembered, the orientation is applied
while reading, and EXIF, XMP, IPTC, comment, colour profile and resolution travel with the pixels to the file that is written.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rebridge.images import codecs, extra, metadata, orientation, profiles
from rebridge.images.atomic import reason, write_atomic
from rebridge.images.raster import Raster, warn
from rebridge.images.transparency import fill_hidden

MAX_PIXELS = 2**26
"""Most pixels of a picture that is read unless the caller says otherwise: about 67 million."""
READABLE_SUFFIXES = codecs.READABLE
WRITABLE_SUFFIXES = tuple(codecs.WRITABLE)
QUALITY = 95


def as_floats(pixels: Tensor) -> Tensor:
    """Return pixels of any shape as float32 in [0, 1]; bytes are divided by 255."""
    return pixels / 255 if pixels.dtype == torch.uint8 else pixels


def result_suffix(suffix: str) -> str:
    """Return the suffix of the result for a picture with a given suffix.

    The same for common formats, '.png' for others.
    """
    return suffix if suffix.lower() in codecs.KEPT else ".png"


class ImageError(ValueError):
    """An image file that cannot be read or written.

    The message is one sentence that names the file.
    """


@dataclass(frozen=True)
class Image:
    """A still image and what its file said about it.

    Attributes:
        pixels: float32 (C, H, W) in [0, 1], C = 1 (grey) or 3 (RGB), never multiplied by alpha; or uint8, see `read_image`.
        bits: 8 or 16 per sample.
        alpha: float32 (1, H, W) in [0, 1], or None.
        exif: EXIF block with orientation 1.
        icc: ICC profile.
        xmp: XMP packet with orientation 1.
        dpi: horizontal and vertical resolution.
        format: name of the file format.
        chunks: PNG chunks that are copied; among them what a file says about colour without a profile.
        iptc: IPTC-IIM records.
        comment: comment of the file.
        lossless: whether the file kept every bit, where its format allows both.
        quality: JPEG quality of the file, as far as it can be told.
        depth: bits per sample in the file, where these are neither 8 nor 16.
        modified: time of the file's last change, in seconds.
        notes: one sentence for each thing that could not be read or is not kept.
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
    iptc: bytes | None = None
    comment: bytes | None = None
    lossless: bool | None = None
    quality: int | None = None
    depth: int | None = None
    modified: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """The kind of pixels: 'grey' or 'rgb'."""
        return "grey" if self.pixels.shape[0] == 1 else "rgb"

    @property
    def size(self) -> tuple[int, int]:
        """The width and the height."""
        return self.pixels.shape[2], self.pixels.shape[1]

    @property
    def visible_pixels(self) -> Tensor:
        """The pixels, hidden ones in the colour of a neighbour.

        Those of alpha 0 have the colour of the nearest one that can be seen.
        """
        return fill_hidden(as_floats(self.pixels), self.alpha)

    def with_pixels(self, pixels: Tensor, alpha: Tensor | None = None) -> "Image":
        """Return the same file with other pixels.

        Args:
            pixels: (C, H, W).
            alpha: None keeps the alpha channel there is.
        """
        return replace(self, pixels=pixels, alpha=self.alpha if alpha is None else alpha)


def read_image(
    path: str | Path, max_pixels: int = MAX_PIXELS, strict: bool = False, bytes_beyond: int | None = None
) -> Image:
    """Read an image of up to 16 bits, upright, as float32 in [0, 1].

    Grey stays grey; palettes become RGB; CMYK becomes sRGB through its profile. What a file holds is told from its
    first bytes, not from its suffix. A damaged file is read as far as possible; what is missing is blank. Whatever is
    not read or will not be kept is said by an `ImageWarning` and in `Image.notes`.

    Args:
        path: a regular file.
        max_pixels: most pixels, checked before they are decoded.
        strict: refuse damaged files.
        bytes_beyond: keep pictures of more pixels as bytes, a quarter of the memory, where they have 8 bits and no alpha.

    Raises:
        ImageError: one sentence, for a file that is missing, not an image, too damaged, animated or too large.
    """
    path = Path(path)
    try:
        raster, modified = codecs.decode(path, max_pixels, strict)
        image = _from_raster(raster, modified, bytes_beyond)
    except MemoryError:
        raise ImageError(f"{path}: too large for the memory of this machine") from None
    except Exception as error:  # decoders answer damaged bytes with exceptions of every kind
        text = _explain(error)
        if text.startswith(("is ", "no such file", "cannot be opened")):
            raise ImageError(f"{path}: {text}") from error
        raise ImageError(f"{path}: cannot be read as an image: {text}") from error
    for note in image.notes:
        warn(f"{path}: {note}")
    return image


def write_image(
    path: str | Path, image: Image, overwrite: bool = False, quality: int | None = None, encoded: bytes | None = None
) -> None:
    """Write an image in the format of the suffix, whole or not at all.

    16 bits stay 16 bits in PNG, TIFF, JPEG 2000 and JPEG XL, become 10 or 12 in AVIF, and are rounded to 8 elsewhere.
    A picture that was read from a file keeps the time of its last change.

    Args:
        path: a file with one of WRITABLE_SUFFIXES.
        image: what is written.
        overwrite: replace a file that exists; it keeps its permissions.
        quality: 1..100, of JPEG, WebP, AVIF and JPEG XL; 100 is lossless except in JPEG, and JPEG XL of 16 bits always is. None
            takes 95, the quality of the file that was read where that was higher, and 100 where that file was lossless.
        encoded: the content of the file, where it is known already.

    Raises:
        ImageError: `unwritable` says why, the pixels are not finite, or the disk refuses.
    """
    path = Path(path)
    _check_quality(quality)
    if (problem := unwritable(path, overwrite=overwrite)) is not None:
        raise ImageError(f"{path}: {problem}")
    try:
        write_atomic(path, encoded or _encoded(image, path.suffix, quality), overwrite, image.modified)
    except FileExistsError:
        raise ImageError(f"{path}: {_EXISTS}") from None
    except Exception as error:  # encoders have exceptions of every kind
        raise ImageError(f"{path}: cannot be written: {reason(error)}") from error


def encode_image(image: Image, suffix: str, quality: int | None = None) -> bytes:
    """Encode an image as `write_image` writes it.

    For what needs no file, or none that outlives a crash.

    Args:
        image: what is encoded.
        suffix: one of WRITABLE_SUFFIXES.
        quality: of `write_image`.

    Raises:
        ImageError: as `write_image`.
    """
    _check_quality(quality)
    if (problem := _unknown(suffix)) is not None:
        raise ImageError(problem)
    try:
        return _encoded(image, suffix, quality)
    except Exception as error:  # encoders have exceptions of every kind
        raise ImageError(f"cannot be written: {reason(error)}") from error


def _check_quality(quality: int | None) -> None:
    if quality is not None and not 1 <= quality <= 100:
        raise ImageError(f"quality must be between 1 and 100, got {quality}")


def _encoded(image: Image, suffix: str, quality: int | None) -> bytes:
    name = codecs.WRITABLE[suffix.lower()]
    return codecs.encode(_to_raster(image, name), _quality(image, name) if quality is None else quality)


def _unknown(suffix: str) -> str | None:
    """Say why no image is written with a suffix."""
    name = codecs.WRITABLE.get(suffix.lower())
    if name is None:
        return f"unknown image suffix '{suffix}'; use one of {', '.join(WRITABLE_SUFFIXES)}"
    form = codecs.WRITTEN_FORMATS[name]
    if form.needs is not None and not extra.has(form.needs):
        return f"{form.name} needs the package {form.needs}: pip install 'rebridge[formats]'"
    return None


_EXISTS = "exists already and is not overwritten without --overwrite"


def unwritable(path: str | Path, image: Image | None = None, overwrite: bool = False) -> str | None:
    """Say why an image cannot be written to a path, before any work is done.

    Args:
        path: the file to be.
        image: the picture, or one of the same size and transparency; None to look at the name only.
        overwrite: whether a file that exists may be replaced.
    """
    path = Path(path)
    if (problem := _unknown(path.suffix)) is not None:
        return problem
    if len(os.fsencode(path.name)) > 255:
        return f"the file name has {len(os.fsencode(path.name))} bytes, and 255 are possible"
    try:
        if path.is_dir():
            return "is a folder, not a file"
        if not overwrite and os.path.lexists(path):
            return _EXISTS
    except (OSError, ValueError) as error:
        return f"cannot be written: {reason(error)}"
    if image is None:
        return None
    form = codecs.WRITTEN_FORMATS[codecs.WRITABLE[path.suffix.lower()]]
    if max(image.size) > form.largest:
        return f"cannot be written: {form.name} holds at most {form.largest} columns and rows, not {max(image.size)}"
    if not form.has_alpha and image.alpha is not None and not _is_opaque(image.alpha, 8):
        return f"cannot be written: {form.name} cannot hold transparency; use PNG, WebP or TIFF"
    return None


def to_samples(pixels: Tensor, bits: int) -> np.ndarray:
    """Convert float (C, H, W) in [0, 1] to uint8 or uint16 (H, W, C).

    Values are clamped and rounded to nearest.
    """
    result = np.empty((*pixels.shape[1:], pixels.shape[0]), np.uint8 if bits == 8 else np.uint16)
    for channel, plane in enumerate(pixels):
        _into(result[..., channel], plane, bits)
    return result


def _from_raster(raster: Raster, modified: float, bytes_beyond: int | None = None) -> Image:
    """Turn samples upright and into floats, or planes of bytes; see `read_image`."""
    turn, exif, xmp = orientation.settle(raster.exif, raster.xmp)
    turn = 1 if raster.upright else turn
    samples = orientation.upright(raster.samples, turn)
    bits = 8 * samples.itemsize
    height, width, channels = samples.shape
    if channels not in (1, 2, 3, 4):
        raise ValueError(f"its {channels} channels cannot be read")
    colours = 1 if channels < 3 else 3
    is_kept = bytes_beyond is not None and height * width > bytes_beyond and bits == 8 and channels == colours
    planes = torch.empty(colours, height, width, dtype=torch.uint8 if is_kept else torch.float32)
    alpha = torch.empty(1, height, width) if channels > colours else None
    for channel in range(channels):
        plane = planes[channel] if channel < colours else alpha[0]  # type: ignore[index]
        np.copyto(plane.numpy(), samples[..., channel], casting="unsafe")
        if not is_kept:
            plane /= 2**bits - 1
    return Image(
        pixels=planes,
        bits=bits,
        alpha=alpha,
        exif=exif,
        icc=raster.icc,
        xmp=xmp,
        dpi=raster.dpi[::-1] if raster.dpi and turn >= 5 else raster.dpi,
        format=raster.format,
        chunks=raster.chunks,
        iptc=raster.iptc,
        comment=raster.comment,
        lossless=raster.lossless,
        quality=raster.quality,
        depth=raster.depth,
        modified=modified,
        notes=raster.notes,
    )


def _to_raster(image: Image, name: str) -> Raster:
    """Samples and metadata as the format can hold them."""
    form = codecs.WRITTEN_FORMATS[name]
    problem = _problem(image)
    if problem is None and max(image.size) > form.largest:
        problem = f"{form.name} holds at most {form.largest} columns and rows, not {max(image.size)}"
    if problem is not None:
        raise ValueError(problem)
    bits = min(image.bits, form.bits)
    planes = [*image.pixels]
    if image.alpha is not None:
        if form.has_alpha:
            planes.append(image.alpha[0])
        elif not _is_opaque(image.alpha, bits):
            raise ValueError(f"{form.name} cannot hold transparency; use PNG, WebP or TIFF")
    samples = np.empty((*image.pixels.shape[1:], len(planes)), np.uint8 if bits == 8 else np.uint16)
    for channel, plane in enumerate(planes):
        _into(samples[..., channel], plane, bits)
    icc = image.icc
    if icc is None and name != "PNG":
        icc = profiles.from_chunks(image.chunks, image.mode == "grey")
    if icc is not None and icc[16:20] == b"GRAY" and image.mode != "grey":
        icc = None  # a grey profile on RGB samples would make viewers show wrong colours
    return Raster(
        samples,
        name,
        exif=metadata.exif_of_size(image.exif, *image.size) if image.exif else None,
        icc=icc,
        xmp=image.xmp,
        dpi=image.dpi,
        chunks=image.chunks,
        iptc=image.iptc,
        comment=image.comment,
        depth=image.depth,
    )


def _problem(image: Image) -> str | None:
    """Say what is wrong with the tensors of an image."""
    if image.bits not in (8, 16):
        return f"bits must be 8 or 16, got {image.bits}"
    if image.pixels.ndim != 3 or image.pixels.shape[0] not in (1, 3) or image.pixels.numel() == 0:
        return f"pixels must have shape (1, H, W) or (3, H, W), got {tuple(image.pixels.shape)}"
    if image.alpha is not None and image.alpha.shape != (1, *image.pixels.shape[1:]):
        return f"alpha {tuple(image.alpha.shape)} does not fit pixels {tuple(image.pixels.shape)}"
    for tensor in (image.pixels, image.alpha):
        if (
            tensor is not None
            and tensor.is_floating_point()
            and not torch.isfinite(torch.stack(torch.aminmax(tensor.detach()))).all()
        ):
            return "the pixels contain NaN or infinite values"
    return None


def _into(target: np.ndarray, plane: Tensor, bits: int, rows: int = 512) -> None:
    """Write a plane (H, W) of floats or bytes as rounded samples into an array.

    A few rows at a time, to save memory.
    """
    if plane.dtype == torch.uint8:
        target[:] = plane.detach().cpu().numpy() if bits == 8 else 257 * plane.detach().cpu().numpy().astype(np.uint16)
        return
    top = 2**bits - 1
    for first in range(0, plane.shape[0], rows):
        part = plane[first : first + rows].detach().to("cpu", torch.float32)
        target[first : first + rows] = part.clamp(0, 1).mul(top).round().numpy()


def _is_opaque(alpha: Tensor, bits: int) -> bool:
    return bool((alpha.detach().min().float() * (2**bits - 1)).round() >= 2**bits - 1)


def _quality(image: Image, name: str) -> int:
    """Quality for an image whose caller asks for none."""
    if name == "JPEG":
        return max(QUALITY, image.quality or 0)
    return 100 if image.lossless else QUALITY


def _explain(error: BaseException) -> str:
    """Put an exception into one sentence.

    Our own words, or that a decoder stumbled over the file.
    """
    text = reason(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    is_ours = trace is not None and Path(trace.tb_frame.f_code.co_filename).parent == Path(__file__).parent
    if is_ours and isinstance(error, ValueError | OSError) and "cannot identify image file" not in text:
        return text
    is_worth_showing = isinstance(error, ValueError | OSError | RuntimeError) and len(text) < 120
    detail = f" ({text})" if is_worth_showing and "cannot identify image file" not in text else ""
    return f"the file is damaged or cut short{detail}"
