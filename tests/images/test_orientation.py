"""Orientation.

Wherever a file says it, it is applied once, and nowhere said again.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import ImageOps

from rebridge.images import metadata, orientation, read_image, write_image
from tests.images.making import as_image, exif, jpeg, picture, read_samples, turned, xmp

XMP = b"http://ns.adobe.com/xap/1.0/\0"


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("style", ["attribute", "single", "element"])
@pytest.mark.parametrize("prefix", ["tiff", "t"])
def test_orientation_in_xmp_alone_is_applied(tmp_path: Path, prefix: str, style: str, turn: int) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), [(0xE1, XMP + xmp(turn, style, prefix))]))
    with PILImage.open(tmp_path / "a.jpg") as plain:
        stored = np.asarray(plain).astype(int)
    image = read_image(tmp_path / "a.jpg")
    assert np.array_equal(read_samples(image), turned(stored, turn))
    assert image.xmp == xmp(1, style, prefix)
    write_image(tmp_path / "b.jpg", image)
    assert read_image(tmp_path / "b.jpg").size == image.size


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".png"])
def test_xmp_counts_in_every_format(tmp_path: Path, suffix: str) -> None:
    from rebridge.images import Image

    samples = picture()
    import torch

    pixels = torch.from_numpy(samples.astype(np.float32)).permute(2, 0, 1) / 255
    write_image(tmp_path / f"a{suffix}", Image(pixels, xmp=xmp(6)), quality=100)
    assert np.array_equal(read_samples(read_image(tmp_path / f"a{suffix}")), turned(samples, 6))


@pytest.mark.parametrize(
    ("in_exif", "in_xmp", "applied"), [(6, 3, 6), (1, 6, 1), (None, 8, 8), (9, 6, 6), (6, None, 6)]
)
def test_exif_goes_before_xmp(tmp_path: Path, in_exif: int | None, in_xmp: int | None, applied: int) -> None:
    segments = [(0xE1, exif(in_exif))] + ([(0xE1, XMP + xmp(in_xmp))] if in_xmp else [])
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), segments))
    with PILImage.open(tmp_path / "a.jpg") as plain:
        stored = np.asarray(plain).astype(int)
    assert np.array_equal(read_samples(read_image(tmp_path / "a.jpg")), turned(stored, applied))


@pytest.mark.parametrize("turn", range(1, 9))
def test_turning_agrees_with_pillow(turn: int) -> None:
    image = PILImage.fromarray(picture())
    image.getexif()[0x112] = turn
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), orientation.upright(picture(), turn))
    assert np.array_equal(turned(picture(), turn), orientation.upright(picture(), turn))


def test_xmp_in_utf_16_is_understood() -> None:
    packet = xmp(6).decode().encode("utf-16")
    assert orientation.settle(None, packet) == (6, None, xmp(1))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_no_metadata_breaks_the_search(exif_block: bytes, packet: bytes) -> None:
    turn, _, _ = orientation.settle(exif_block, packet)
    assert turn in range(1, 9)


def test_exif_states_the_size_of_the_picture_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), [(0xE1, exif(6))]))
    write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.jpg"))
    camera = PILImage.open(tmp_path / "b.jpg").getexif().get_ifd(0x8769)
    assert (camera[0xA002], camera[0xA003]) == (24, 32)
    assert metadata.exif_of_size(b"nonsense", 1, 2) == b"nonsense"


def test_a_long_orientation_of_either_byte_order_is_understood() -> None:
    import struct

    for order, mark in (("<", b"II*\0"), (">", b"MM\0*")):
        block = mark + struct.pack(order + "IHHHIII", 8, 1, 0x112, 4, 1, 6, 0)
        turn, upright = metadata.upright_exif(block)
        assert turn == metadata.exif_orientation(block) == 6
        assert upright is not None
        assert metadata.exif_orientation(upright) == 1


def test_pillow_sees_the_same_picture_before_and_after(tmp_path: Path) -> None:
    for block in (exif(6), exif(6, ">")):
        (tmp_path / "a.jpg").write_bytes(jpeg(picture(), [(0xE1, block)]))
        write_image(tmp_path / "b.png", read_image(tmp_path / "a.jpg"), overwrite=True)
        before = ImageOps.exif_transpose(PILImage.open(io.BytesIO((tmp_path / "a.jpg").read_bytes())))
        after = ImageOps.exif_transpose(PILImage.open(tmp_path / "b.png"))
        assert np.array_equal(np.asarray(before), np.asarray(after))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_avif_of_any_depth_is_turned_once(tmp_path: Path, turn: int, bits: int) -> None:
    """Encoders also say the orientation in properties of their own.

    Decoders may or may not apply those.
    """
    samples = picture(bits=bits)
    write_image(tmp_path / "a.avif", as_image(samples, exif=exif(turn)), quality=100)
    found = read_samples(read_image(tmp_path / "a.avif"))
    assert found.shape == turned(samples, turn).shape
    assert np.abs(found - turned(samples, turn)).mean() < 0.01 * 2**bits
