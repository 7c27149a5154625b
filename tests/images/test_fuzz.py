"""Damaged bytes give a picture or one sentence, and nothing else.

Within limits of time and memory.
"""

import gc
import os
import random
import resource
import sys
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from rebridge.images import Image, ImageError, read_image, write_image
from tests.images.making import as_image, captioned_jpeg, exif, hand_tiff, packed, picture, small_dng, tiff, xmp

CASES = 40
"""Damaged files of each kind; several hundred in all."""
_ADDRESSES = 6 * 2**30


OURS = {
    "a.png": (8, 4),
    "a16.png": (16, 3),
    "a.tif": (8, 3),
    "a16.tif": (16, 4),
    "a.webp": (8, 4),
    "a.avif": (8, 3),
    "a10.avif": (16, 3),
    "a.jp2": (8, 3),
    "a16.jp2": (16, 3),
    "a.bmp": (8, 3),
    "a.jxl": (8, 3),
    "a16.jxl": (16, 4),
}
"""Files that are written by `write_image`: bits and channels."""
OTHERS = ("a.jpg", "a.ppm", "a.gif", "lzw.tif", "twelve.tif", "big.tif", "a.tga", "a.heic", "a.dng")


def specimen(folder: Path, name: str) -> Path:
    """One small file with metadata."""
    path = folder / name
    if name in OURS:
        if path.suffix == ".jxl":
            pytest.importorskip("imagecodecs")
        bits, channels = OURS[name]
        image = as_image(picture(48, 64, bits, channels), exif=exif(6), xmp=xmp(6), dpi=(300, 300), comment=b"words")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write_image(path, image)
    elif name == "a.jpg":
        path.write_bytes(captioned_jpeg())
    elif name == "a.ppm":
        path.write_bytes(b"P6 64 48 65535\n" + picture(48, 64, 16).astype(">u2").tobytes())
    elif name == "a.gif":
        path.write_bytes(b"GIF89a\2\0\2\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\2\0\2\0\0\2\3D\2\5\0;")
    elif name == "a.tga":
        PILImage.fromarray(picture(channels=4)).save(path, compression="tga_rle")
    elif name == "lzw.tif":
        PILImage.fromarray(picture(48, 64)).save(path, compression="tiff_lzw", tiffinfo={278: 7, 274: 6})
    elif name == "twelve.tif":
        tags: dict[int, int | tuple[int, ...]] = {256: 33, 257: 24, 258: 12, 259: 1, 262: 1, 277: 1, 278: 24}
        path.write_bytes(hand_tiff([packed(picture(24, 33, 12, 1), 12)], tags))
    elif name == "big.tif":
        tiff(
            path,
            np.moveaxis(picture(48, 64, 16), -1, 0).copy(),
            photometric="rgb",
            planarconfig="separate",
            bigtiff=True,
        )
    elif name == "a.heic":
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(PILImage.fromarray(picture(64, 64))).save(path, quality=90, exif=exif(6))
    else:
        pytest.importorskip("rawpy")
        small_dng(np.full((64, 96), 20000, np.uint16), path)
    return path


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat, insert or exchange bytes.

    Often in the first hundred, where lengths are.
    """
    block = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(min(len(block), 200) if rng.random() < 0.5 else len(block))
        kind = rng.randrange(6)
        if kind == 0:
            block[place] = rng.randrange(256)
        elif kind == 1:
            block[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            block[place : place + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\1\0\0\0"))
        elif kind == 3 and len(block) > 20:
            del block[place : place + rng.randrange(1, 50)]
        elif kind == 4:
            block[place:place] = rng.randbytes(rng.randrange(1, 50))
        elif len(block) > 20:
            del block[rng.randrange(10, len(block)) :]
        if not block:
            block = bytearray(b"\0")
    if data.startswith(b"\x89PNG") and rng.random() < 0.5:
        block = with_right_checksums(block)
    return bytes(block)


def with_right_checksums(block: bytearray) -> bytearray:
    """Make the checksums of a damaged PNG right.

    What they protect is then looked at.
    """
    position = 8
    while position + 12 <= len(block):
        length = int.from_bytes(block[position : position + 4], "big")
        if position + 12 + length > len(block):
            break
        checksum = zlib.crc32(block[position + 4 : position + 8 + length])
        block[position + 8 + length : position + 12 + length] = checksum.to_bytes(4, "big")
        position += 12 + length
    return block


def read_or_explain(path: Path, strict: bool) -> Image | None:
    """Read a picture; None after one sentence that names the file."""
    try:
        return read_image(path, max_pixels=1_000_000, strict=strict)
    except ImageError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert str(path) in sentence
    return None


def forked() -> int:
    """Fork, and wait where the memory of the test's process cannot be promised twice at the moment."""
    for _ in range(10):
        try:
            return os.fork()
        except OSError:
            gc.collect()
            time.sleep(1)
    return os.fork()


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked child with limits; return its exit status, 0 for success."""
    torch.set_num_threads(1)  # a forked child has none of its parent's threads, and would wait for them
    child = forked()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
            resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            work()
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("name", [*OURS, *OTHERS])
def test_damaged_files_give_a_picture_or_one_sentence(tmp_path: Path, name: str) -> None:
    path = specimen(tmp_path, name)
    data = path.read_bytes()
    target = tmp_path / f"damaged{path.suffix}"
    log = tmp_path / "log"

    def work() -> None:
        warnings.simplefilter("ignore")
        rng = random.Random(name)
        for case in range(CASES):
            target.write_bytes(damaged(data, rng))
            log.write_text(f"case {case}")
            for strict in (False, True):
                image = read_or_explain(target, strict)
                if image is None:
                    continue
                assert image.pixels.isfinite().all()
                assert 0 <= image.pixels.min() <= image.pixels.max() <= 1
                assert image.pixels.shape[1] * image.pixels.shape[2] <= 1_000_000
                if case % 8 == 0 and not strict:
                    suffix = ".tif" if case % 16 else ".png"
                    write_image(tmp_path / f"again{suffix}", image, overwrite=True)
                    read_image(tmp_path / f"again{suffix}", strict=True)

    status = in_child(work)
    assert status == 0, f"{path.name}: {log.read_text()} ended with status {status}; its bytes are those of damaged()"
