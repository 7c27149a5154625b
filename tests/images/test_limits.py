"""Limits and faults.

What is no picture file is refused at once, by one sentence, before memory is spent.
"""

import os
import resource
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from rebridge.images import MAX_PIXELS, ImageError, irregular, read_image, unwritable, write_image
from tests.images.making import as_image, chunked, hand_tiff, jpeg, picture, png, read_samples


def refused(path: Path, words: str, seconds: float = 2.0, **options: object) -> None:
    """Check that a path is refused at once by one sentence that names it."""
    began = time.perf_counter()
    with pytest.raises(ImageError, match=words) as caught:
        read_image(path, **options)  # type: ignore[arg-type]
    assert time.perf_counter() - began < seconds
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "dead.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "pipe2.png").symlink_to(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        refused(tmp_path / "s.png", "is a socket")
    refused(tmp_path / "pipe.png", "is a named pipe")
    refused(tmp_path / "pipe2.png", "is a named pipe")
    refused(tmp_path / "folder.png", "is a folder")
    refused(tmp_path / "loop.png", "links|Too many levels")
    refused(tmp_path / "dead.png", "broken link")
    refused(tmp_path / "missing.png", "no such file")
    refused(tmp_path / "missing" / "a.png", "no such file")
    refused(tmp_path / ("m" * 300 + ".png"), "File name too long")
    refused(Path("/dev/zero"), "is a device")
    refused(Path("/dev/null"), "is a device")
    (tmp_path / "a.png").write_bytes(png(picture(), 2, 8))
    refused(tmp_path / "a.png" / "b.png", "no such file")
    assert irregular(tmp_path / "a.png") is None
    with pytest.raises(ImageError, match="no possible file name"):
        read_image(str(tmp_path) + "/a\0.png")


def huge(kind: str) -> bytes:
    """A small file that says it holds 60000 x 50000 pixels."""
    width, height = 60_000, 50_000
    if kind == "png":
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return chunked([(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")])
    if kind == "jpg":
        data = bytearray(jpeg(picture()))
        place = data.find(b"\xff\xc0")
        struct.pack_into(">HH", data, place + 5, height, width)
        return bytes(data)
    if kind == "bmp":
        return (
            b"BM"
            + struct.pack("<IHHI", 100, 0, 0, 54)
            + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)
        )
    if kind == "gif":
        return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    if kind == "ppm":
        return b"P6 60000 50000 255\n" + bytes(1000)
    if kind == "tif":
        tags: dict[int, int | tuple[int, ...]] = {256: width, 257: height, 258: (8, 8, 8), 259: 1, 262: 2, 277: 3}
        return hand_tiff([bytes(1000)], {**tags, 278: height})
    if kind == "jp2":
        siz = struct.pack(">HHHIIIIIIIIH", 0xFF51, 47, 0, width, height, 0, 0, width, height, 0, 0, 3) + b"\7\1\1" * 3
        return b"\xff\x4f" + siz + bytes(100)
    if kind == "tga":
        return struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, width, height, 24, 0) + bytes(100)
    return b"\xff\x0a" + bits([(0, 1), (2, 2), (height - 1, 18), (0, 3), (2, 2), (width - 1, 18), (1, 1)])


def bits(fields: list[tuple[int, int]]) -> bytes:
    """Numbers packed into bits, lowest first."""
    value = place = 0
    for number, count in fields:
        value |= number << place
        place += count
    return value.to_bytes(32, "little")


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "gif", "ppm", "tif", "jp2", "tga", "jxl"])
def test_a_picture_over_the_limit_is_refused_by_its_header(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"a.{kind}").write_bytes(huge(kind))
    refused(tmp_path / f"a.{kind}", "60000 x 50000 pixels are more than the limit")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".avif", ".jp2"])
def test_the_limit_can_be_set(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a{suffix}", as_image(picture(40, 50)))
    refused(tmp_path / f"a{suffix}", "50 x 40 pixels are more than the limit of 1,999 ", max_pixels=1999)
    assert read_image(tmp_path / f"a{suffix}", max_pixels=2000).size == (50, 40)


def test_a_bomb_below_the_old_limit_is_refused(tmp_path: Path) -> None:
    side = 14_142
    assert side * side > MAX_PIXELS
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    (tmp_path / "a.png").write_bytes(chunked([(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]))
    refused(tmp_path / "a.png", "more than the limit of 67,108,864")


def test_a_file_far_larger_than_any_picture_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.png", "wb") as file:
        file.write(png(picture(), 2, 8))
        file.truncate(50 * 2**30)
    refused(tmp_path / "a.png", "bytes are more than any image file")


def test_64_megapixels_are_read_and_written_in_under_four_gigabytes(tmp_path: Path) -> None:
    """Measure bytes per pixel in a child."""
    side = 2048
    samples = np.tile(picture(256, 256), (side // 256, side // 256, 1))
    PILImage.fromarray(samples).save(tmp_path / "a.png", compress_level=1)
    code = f"""
import resource, sys
from rebridge.images import read_image, write_image
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
image = read_image({str(tmp_path / "a.png")!r})
write_image({str(tmp_path / "b.png")!r}, image)
print((peak() - before) / {side * side})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # 12 bytes are the floats themselves; 55 bytes for each of 64 million pixels would be 3.5 GB.
    assert float(result.stdout) < 45


def test_what_speaks_against_an_output_is_said_before_any_work(tmp_path: Path) -> None:
    image = as_image(picture())
    (tmp_path / "there.png").write_bytes(b"precious")
    (tmp_path / "folder.png").mkdir()
    for name, words in {
        "a.xyz": "unknown image suffix",
        "-": "unknown image suffix",
        "there.png": "exists already",
        "folder.png": "is a folder",
        "写" * 84 + ".png": "256 bytes",
    }.items():
        assert words in (unwritable(tmp_path / name, image) or "")
    assert unwritable(tmp_path / "there.png", image, overwrite=True) is None
    assert unwritable(tmp_path / "a.jpg", image) is None
    assert "transparency" in (unwritable(tmp_path / "a.jpg", as_image(picture(channels=4))) or "")
    wide = as_image(np.zeros((1, 70_000, 3), np.uint8))
    for suffix in (".jpg", ".webp", ".avif"):
        assert "columns and rows" in (unwritable(tmp_path / f"a{suffix}", wide) or "")
        with pytest.raises(ImageError, match="columns and rows"):
            write_image(tmp_path / f"a{suffix}", wide)
    write_image(tmp_path / "a.png", wide)
    assert read_samples(read_image(tmp_path / "a.png")).shape == (1, 70_000, 3)


def test_a_file_without_permission_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(picture(), 2, 8))
    path.chmod(0)
    if os.geteuid() != 0:
        refused(path, "Permission denied")


def test_limits_of_this_test_run_are_untouched() -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0
    from PIL import ImageFile

    assert PILImage.MAX_IMAGE_PIXELS is not None
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
