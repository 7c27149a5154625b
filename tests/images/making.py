"""Picture files made by hand, so that each byte of them is known."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image as PILImage

from rebridge.images import Image

Chunks = Sequence[tuple[bytes, bytes]]


def picture(height: int = 24, width: int = 32, bits: int = 8, channels: int = 3) -> np.ndarray:
    """A made-up picture with ramps, an edge and some noise, (H, W) for one channel."""
    y, x = np.mgrid[:height, :width].astype(float)
    planes = [0.2 + 0.6 * x / width, 0.1 + 0.7 * y / height, 0.8 - 0.4 * (x + y) / (height + width)]
    planes = [np.where((x - width / 2) ** 2 + (y - height / 3) ** 2 < 30, 0.9 - plane, plane) for plane in planes]
    stack = np.stack([*planes, 0.3 + 0.5 * (x > width / 3)], -1)[..., :channels]
    noise = np.random.default_rng(0).uniform(-0.02, 0.02, stack.shape)
    samples = ((stack + noise).clip(0, 1) * (2**bits - 1)).round().astype(np.uint8 if bits <= 8 else np.uint16)
    return samples[..., 0] if channels == 1 else samples


def read_samples(image: Image) -> np.ndarray:
    """The samples (H, W, C) of an image with its alpha, as whole numbers."""
    planes = image.pixels if image.alpha is None else torch.cat([image.pixels, image.alpha])
    return (planes.permute(1, 2, 0).double().numpy() * (2**image.bits - 1)).round().astype(int)


def as_image(samples: np.ndarray, **fields: Any) -> Image:
    """An image of samples (H, W) or (H, W, C).

    The last of an even number of channels is alpha.
    """
    samples = samples[..., None] if samples.ndim == 2 else samples
    bits = 8 * samples.itemsize
    planes = torch.from_numpy(samples.astype(np.float32)).permute(2, 0, 1) / (2**bits - 1)
    colours = 1 if len(planes) < 3 else 3
    return Image(planes[:colours], bits, planes[colours:] if len(planes) > colours else None, **fields)


def png(samples: np.ndarray, colour: int, bits: int, extra: Chunks = ()) -> bytes:
    """A PNG file with unfiltered rows; `samples` of fewer than 8 bits come packed."""
    height = len(samples)
    width = samples.shape[1] * 8 // bits if bits < 8 else samples.shape[1]
    rows = samples.astype(">u2" if bits == 16 else np.uint8).reshape(height, -1).view(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return chunked([(b"IHDR", header), *extra, (b"IDAT", pixels), (b"IEND", b"")])


def chunked(chunks: Chunks) -> bytes:
    """A PNG file of chunks."""
    parts = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg(samples: np.ndarray, segments: Sequence[tuple[int, bytes]] = (), **options: Any) -> bytes:
    """A JPEG file with further segments (marker, content) behind its start."""
    buffer = io.BytesIO()
    PILImage.fromarray(samples).save(buffer, "JPEG", **{"quality": 95, "subsampling": 0, **options})
    data = buffer.getvalue()
    extra = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(c) + 2) + c for marker, c in segments)
    return data[:2] + extra + data[2:]


def exif(orientation: int | None = None, endian: str = "<", **texts: str) -> bytes:
    """An EXIF block with an orientation, a maker, and a camera's directory."""
    block = PILImage.Exif()
    block.endian = endian
    if orientation is not None:
        block[0x0112] = orientation
    block[0x010F] = texts.get("maker", "Maker")
    block.get_ifd(0x8769)[0x9003] = "2019:01:02 03:04:05"
    block.get_ifd(0x8769)[0xA002] = 4000
    block.get_ifd(0x8769)[0xA003] = 3000
    return block.tobytes()


def xmp(orientation: int, style: str = "attribute", prefix: str = "tiff") -> bytes:
    """An XMP packet that says an orientation in one of the ways that RDF allows."""
    body = {
        "attribute": f'{prefix}:Orientation="{orientation}"/>',
        "single": f"{prefix}:Orientation = '{orientation}' />",
        "element": f"><{prefix}:Orientation>{orientation}</{prefix}:Orientation></rdf:Description>",
    }[style]
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:{prefix}="http://ns.adobe.com/tiff/1.0/" {body}</rdf:RDF></x:xmpmeta>'
    ).encode()


def turned(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Samples as a viewer shows them that obeys an orientation.

    The table of the EXIF standard, by hand.
    """
    return {
        1: samples,
        2: samples[:, ::-1],
        3: np.rot90(samples, 2),
        4: samples[::-1],
        5: samples.swapaxes(0, 1),
        6: np.rot90(samples, -1),
        7: np.rot90(samples.swapaxes(0, 1), 2),
        8: np.rot90(samples, 1),
    }[orientation]


def tiff(path: Path, samples: np.ndarray, **options: Any) -> Path:
    """A TIFF file written by tifffile without its own description."""
    tifffile.imwrite(path, samples, metadata=None, **options)
    return path


def hand_tiff(
    segments: Sequence[bytes], tags: dict[int, int | tuple[int, ...]], order: str = "<", after: bytes = b""
) -> bytes:
    """A TIFF file of given strips.

    Tags 273 and 279 are added; sizes are LONG, the other values SHORT.
    """
    entries = dict(tags)
    entries[279] = tuple(len(segment) for segment in segments)
    blob, offsets = b"", []
    for segment in segments:
        offsets.append(8 + len(blob))
        blob += segment + b"\0" * (len(segment) % 2)
    entries[273] = tuple(offsets)
    position = 8 + len(blob)
    directory, extra = struct.pack(order + "H", len(entries)), b""
    behind = position + 2 + 12 * len(entries) + 4
    for tag, value in sorted(entries.items()):
        values = value if isinstance(value, tuple) else (value,)
        kind, letter = (4, "I") if tag in (256, 257, 273, 278, 279) else (3, "H")
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            place = struct.pack(order + "I", behind + len(extra))
            extra += packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + place
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", position) + blob + directory + bytes(4) + extra + after


def packed(samples: np.ndarray, bits: int) -> bytes:
    """Rows of samples packed into bits, highest first.

    Each row is filled up to whole bytes.
    """
    rows = samples.reshape(len(samples), -1)
    flags = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(flags.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def captioned_jpeg() -> bytes:
    """A JPEG file with EXIF, XMP, an IPTC caption and a comment."""
    records = b"\x1c\x02\x78\x00\x07Caption"
    shop = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records
    packet = b"http://ns.adobe.com/xap/1.0/\0" + xmp(6)
    return jpeg(picture(48, 64), [(0xE1, exif(6)), (0xE1, packet), (0xED, shop), (0xFE, b"words")])


def small_dng(samples: np.ndarray, path: Path) -> None:
    """A small DNG of a Bayer pattern, as plain as the standard allows."""
    tags: list[tuple[int, str | int, int, object, bool]] = [
        (50706, "B", 4, bytes([1, 4, 0, 0]), True),
        (50708, "s", 0, "Camera", True),
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, bytes([0, 1, 1, 2]), True),
        (50717, "H", 1, 65535, True),
        (50721, "2i", 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
        (271, "s", 0, "Maker", True),
    ]
    tifffile.imwrite(path, samples, photometric="cfa", metadata=None, extratags=tags)
