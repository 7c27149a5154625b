"""JPEG XL files through imagecodecs.

The header of the codestream and the boxes of the container are read here.
"""

import struct
from dataclasses import dataclass

import numpy as np

from rebridge.images import extra, metadata
from rebridge.images.boxes import box, boxes
from rebridge.images.raster import Raster, check_size, unpremultiplied, warn, widened

_SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_CICP_PRIMARIES = {1: 1, 9: 9, 11: 12}
_ALPHA = 0
_LINEAR, _SRGB = 8, 13


@dataclass
class JpegxlHeader:
    """Metadata that the codestream says before its pixels."""

    width: int = 0
    height: int = 0
    bits: int = 8
    is_float: bool = False
    is_animated: bool = False
    is_lossy: bool = True
    is_premultiplied: bool = False
    has_icc: bool = False
    cicp: tuple[int, int] | None = None
    """Primaries and transfer function, None for sRGB."""
    linear_at: int | None = None
    """Bit behind the signature at which a transfer function that is linear light is named."""


def decode_jpegxl(data: bytes, max_pixels: int) -> Raster:
    """Decode a JPEG XL file of up to 16 bits; the decoder turns it upright.

    Raises:
        ValueError: it is animated, too large, or has floating-point samples.
    """
    header = read_header(_codestream(data))
    check_size(header.width, header.height, max_pixels)
    if header.is_animated:
        raise ValueError("it is an animation, and only still images can be restored")
    if header.is_float or header.bits > 16:
        raise ValueError(
            f"its samples have {header.bits} bits{' of floating point' * header.is_float}; 8 to 16 can be read"
        )
    samples = extra.imagecodecs("JPEG XL").jpegxl_decode(data)
    samples = samples if samples.ndim == 3 else samples[..., None]
    if samples.shape[2] > 4 or samples.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"JPEG XL with {samples.shape[2]} channels of {samples.dtype} cannot be read")
    samples = widened(samples, header.bits)
    if header.is_premultiplied and samples.shape[2] % 2 == 0:
        samples = unpremultiplied(samples)
    notes: tuple[str, ...] = ("its ICC profile cannot be read and is not kept",) if header.has_icc else ()
    exif = xmp = None
    for name, begin, end in boxes(data) if data.startswith(_SIGNATURE) else ():
        if name == b"Exif" and end - begin > 12:
            (offset,) = struct.unpack_from(">I", data, begin)
            exif = metadata.EXIF_PREFIX + data[begin + 4 + offset : end]
        elif name == b"xml ":
            xmp = data[begin:end]
        elif name == b"brob" and data[begin : begin + 4] in (b"Exif", b"xml "):
            notes += (f"its compressed {data[begin : begin + 4].decode().strip()} data is not kept",)
    chunks = ((b"cICP", bytes([*header.cicp, 0, 1])),) if header.cicp else ()
    return Raster(
        samples,
        "JXL",
        exif=exif,
        xmp=xmp,
        chunks=chunks,
        lossless=not header.is_lossy,
        depth=header.bits if header.bits not in (8, 16) else None,
        upright=True,
        notes=notes,
    )


def encode_jpegxl(raster: Raster, quality: int) -> bytes:
    """Encode samples of 8 or 16 bits.

    16 bits, and any for a quality of 100, without loss.
    imagecodecs cannot embed a profile: pictures with one are converted to sRGB, with a warning. It calls samples of
    16 bits linear light, which is put right in the header.
    """
    codec = extra.imagecodecs("JPEG XL")
    samples = raster.samples
    if raster.icc:
        samples = converted_to_srgb(samples, raster.icc)
    if raster.iptc or raster.comment:
        warn("JPEG XL has no place for IPTC data and comments, which are left out", stacklevel=3)
    is_exact = quality == 100 or samples.dtype == np.uint16
    options = {"lossless": True} if is_exact else {"distance": _distance(quality)}
    data = bytes(codec.jpegxl_encode(samples if samples.shape[2] > 1 else samples[..., 0], **options))
    data = _as_srgb(data)
    extras = b""
    if raster.exif:
        extras += box(b"Exif", bytes(4) + raster.exif.removeprefix(metadata.EXIF_PREFIX))
    if raster.xmp:
        extras += box(b"xml ", raster.xmp)
    if not extras:
        return data
    if not data.startswith(_SIGNATURE):
        return _SIGNATURE + box(b"ftyp", b"jxl \0\0\0\0jxl ") + box(b"jxlc", data) + extras
    # The last box may say by a length of 0 that it reaches to the end of the file.
    contents = list(boxes(data))
    return b"".join(box(name, data[begin:end]) for name, begin, end in contents) + extras


def converted_to_srgb(samples: np.ndarray, icc: bytes) -> np.ndarray:
    """Convert grey or RGB samples, with or without alpha, from a profile to sRGB."""
    codec = extra.imagecodecs("converting colours")
    channels = samples.shape[2]
    colours = channels - 1 if channels % 2 == 0 else channels
    space = "gray" if colours == 1 else "rgb"
    try:
        colour = np.ascontiguousarray(samples[..., :colours] if colours > 1 else samples[..., 0])
        target = codec.cms_profile("srgb" if colours > 1 else "gray", **({} if colours > 1 else {"gamma": 2.2}))
        converted = codec.cms_transform(colour, icc, target, colorspace=space, outcolorspace=space)
    except Exception as error:
        warn(f"the colour profile cannot be applied ({error}) and is left out", stacklevel=3)
        return samples
    warn("JPEG XL is written without the colour profile; the colours are converted to sRGB", stacklevel=3)
    return np.concatenate([converted.reshape(*samples.shape[:2], colours), samples[..., colours:]], axis=2)


def _as_srgb(data: bytes) -> bytes:
    """Name sRGB's curve instead of linear light in a lossless file.

    Its samples do not depend on what the header says.
    """
    stream = _codestream(data)
    place = read_header(stream).linear_at
    start = data.find(stream[:64])
    if place is None or start < 0:
        return data
    head = int.from_bytes(stream[2:], "little")
    head ^= ((_LINEAR - 2) ^ (_SRGB - 2)) << (place + 2)
    return data[: start + 2] + head.to_bytes(len(stream) - 2, "little") + data[start + len(stream) :]


def _distance(quality: int) -> float:
    """Butteraugli distance that libjxl's tools take for a JPEG-like quality."""
    return 0.1 + (100 - quality) * 0.09 if quality >= 30 else 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _codestream(data: bytes) -> bytes:
    if not data.startswith(_SIGNATURE):
        return data[:4096]
    for name, begin, end in boxes(data):
        if name == b"jxlc":
            return data[begin : min(end, begin + 4096)]
        if name == b"jxlp":
            return data[begin + 4 : min(end, begin + 4096)]
    raise ValueError("the file is cut short or damaged")


class _Bits:
    """Bits of a codestream, least significant first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = self._whole = 8 * len(data)

    @property
    def position(self) -> int:
        """Number of bits that have been read."""
        return self._whole - self._left

    def u(self, count: int) -> int:
        """Read an unsigned number."""
        if count > self._left:
            raise ValueError("the file is cut short or damaged")
        result = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return result

    def u32(self, *choices: tuple[int, int]) -> int:
        """Read one of four distributions, each an offset and a number of bits."""
        offset, count = choices[self.u(2)]
        return offset + self.u(count)

    def enum(self) -> int:
        """Read an enumerated value."""
        return self.u32((0, 0), (1, 0), (2, 4), (18, 6))


def read_header(stream: bytes) -> JpegxlHeader:
    """Read size and image metadata of a codestream.

    ISO/IEC 18181-1, the annexes on headers.
    """
    if stream[:2] != b"\xff\x0a":
        raise ValueError("the file is cut short or damaged")
    bits = _Bits(stream[2:])
    header = JpegxlHeader()
    header.width, header.height = _size(bits)
    if bits.u(1):  # all default: 8 bits, sRGB
        return header
    if bits.u(1):
        bits.u(3)  # orientation, which the decoder applies
        if bits.u(1):
            _size(bits)
        if bits.u(1):
            _preview(bits)
        header.is_animated = bool(bits.u(1))
        if header.is_animated:
            return header
    header.is_float, header.bits = _depth(bits)
    bits.u(1)
    for _ in range(bits.u32((0, 0), (1, 0), (2, 4), (1, 12))):
        header.is_premultiplied |= _extra_channel(bits)
    header.is_lossy = bool(bits.u(1))
    _colours(bits, header)
    return header


def _size(bits: _Bits) -> tuple[int, int]:
    is_small = bits.u(1)
    wide = ((1, 9), (1, 13), (1, 18), (1, 30))
    height = 8 * (bits.u(5) + 1) if is_small else bits.u32(*wide)
    ratio = bits.u(3)
    if ratio:
        across, up = _RATIOS[ratio - 1]
        return height * across // up, height
    return 8 * (bits.u(5) + 1) if is_small else bits.u32(*wide), height


def _preview(bits: _Bits) -> None:
    is_small = bits.u(1)
    sizes = ((16, 0), (32, 0), (1, 5), (33, 9)) if is_small else ((1, 6), (65, 8), (321, 10), (1345, 12))
    bits.u32(*sizes)
    if not bits.u(3):
        bits.u32(*sizes)


def _depth(bits: _Bits) -> tuple[bool, int]:
    if bits.u(1):
        count = bits.u32((32, 0), (16, 0), (24, 0), (1, 6))
        bits.u(4)
        return True, count
    return False, bits.u32((8, 0), (10, 0), (12, 0), (1, 6))


def _extra_channel(bits: _Bits) -> bool:
    """Skip the description of an extra channel.

    Tells whether it is alpha that was multiplied into the colours.
    """
    if bits.u(1):
        return False
    kind = bits.enum()
    _depth(bits)
    bits.u32((0, 0), (3, 0), (4, 0), (1, 3))
    for _ in range(bits.u32((0, 0), (0, 4), (16, 5), (48, 10))):
        bits.u(8)
    if kind == _ALPHA:
        return bool(bits.u(1))
    if kind == 2:  # a spot colour
        bits.u(64)
    elif kind == 5:  # colour filter array
        bits.u32((1, 0), (0, 2), (3, 4), (19, 8))
    return False


def _colours(bits: _Bits, header: JpegxlHeader) -> None:
    if bits.u(1):
        return
    header.has_icc = bool(bits.u(1))
    space = bits.enum()
    if header.has_icc or space == 2:
        return
    white = bits.enum()
    if white == 2:
        _custom(bits, 1)
    primaries = 1
    if space != 1:
        primaries = bits.enum()
        if primaries == 2:
            _custom(bits, 3)
    if bits.u(1):  # a gamma instead of a named transfer function
        gamma = bits.u(24) / 1e7
        transfer = 8 if gamma > 0.95 else 4 if gamma < 0.47 else 13
    else:
        place = bits.position
        transfer = bits.enum()
        header.linear_at = place if transfer == _LINEAR else None
    code = _CICP_PRIMARIES.get(primaries)
    if code is not None and white == 1 and transfer in (1, 4, 8, 13, 16, 18) and (code, transfer) != (1, 13):
        header.cicp = (code, transfer)


def _custom(bits: _Bits, points: int) -> None:
    for _ in range(2 * points):
        bits.u32((0, 19), (524288, 19), (1048576, 20), (2097152, 21))
