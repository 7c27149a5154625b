"""What a file carries beside its pixels is kept, or it is said that it is not."""

import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import IptcImagePlugin

from rebridge.images import ImageError, ImageWarning, extra, iptc, read_image, write_image
from tests.images.making import as_image, exif, hand_tiff, jpeg, picture, read_samples, xmp
from tests.images.making import png as png_file

IIM = b"\x1c\x02\x78\x00\x07Caption\x1c\x02\x19\x00\x05words"


def resource(kind: int, content: bytes, name: bytes = b"") -> bytes:
    """One of Photoshop's resource blocks."""
    title = bytes([len(name)]) + name
    title += b"\0" * (len(title) % 2)
    return (
        b"8BIM"
        + struct.pack(">H", kind)
        + title
        + struct.pack(">I", len(content))
        + content
        + b"\0" * (len(content) % 2)
    )


def captioned() -> bytes:
    """A JPEG file with an IPTC caption among other resources, and a comment."""
    shop = b"Photoshop 3.0\0" + resource(0x03ED, bytes(16)) + resource(0x0404, IIM, b"odd") + resource(0x040C, bytes(9))
    return jpeg(picture(), [(0xED, shop), (0xFE, "ein Gruß".encode())])


def caption(path: Path) -> object:
    """The caption that Pillow finds."""
    with PILImage.open(path) as image:
        return (IptcImagePlugin.getiptcinfo(image) or {}).get((2, 120))


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png", ".jp2"])
def test_captions_and_keywords_survive(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.jpg").write_bytes(captioned())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_image(tmp_path / f"b{suffix}", read_image(tmp_path / "a.jpg"))
    assert read_image(tmp_path / f"b{suffix}").iptc == IIM
    if suffix in (".jpg", ".tif"):
        assert caption(tmp_path / f"b{suffix}") == b"Caption"
    write_image(tmp_path / "c.jpg", read_image(tmp_path / f"b{suffix}"))
    assert caption(tmp_path / "c.jpg") == b"Caption"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("as_numbers", [False, True])
def test_captions_of_tiff_are_read_as_bytes_and_as_numbers(tmp_path: Path, order: str, as_numbers: bool) -> None:
    padded = IIM + bytes(-len(IIM) % 4)
    value: object = padded
    if as_numbers:
        value = struct.unpack(f"{order}{len(padded) // 4}I", padded)
    tag = (33723, "I" if as_numbers else 7, len(padded) // 4 if as_numbers else len(padded), value, True)
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb", byteorder=order, metadata=None, extratags=[tag])  # type: ignore[arg-type]
    assert read_image(tmp_path / "a.tif").iptc == IIM


def test_captions_in_photoshop_resources_of_a_tiff_are_read(tmp_path: Path) -> None:
    block = resource(0x0404, IIM)
    tag = (34377, 1, len(block), block, True)
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb", metadata=None, extratags=[tag])
    assert read_image(tmp_path / "a.tif").iptc == IIM


@settings(deadline=None)
@given(st.binary(max_size=120))
def test_broken_resources_are_no_obstacle(data: bytes) -> None:
    for start in (b"", iptc.PHOTOSHOP, iptc.PHOTOSHOP + b"8BIM\x04\x04"):
        iptc.from_resources(start + data)
    iptc.as_records(b"\x1c" + data)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_comment_survives(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.jpg").write_bytes(captioned())
    write_image(tmp_path / f"b{suffix}", read_image(tmp_path / "a.jpg"))
    assert read_image(tmp_path / f"b{suffix}").comment == "ein Gruß".encode()
    write_image(tmp_path / "c.jpg", read_image(tmp_path / f"b{suffix}"))
    assert PILImage.open(tmp_path / "c.jpg").info["comment"] == "ein Gruß".encode()
    write_image(tmp_path / "d.png", read_image(tmp_path / f"b{suffix}"))
    assert (tmp_path / "d.png").read_bytes().count(b"Comment\0") == 1


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_comment_in_either_encoding_is_the_same_text_everywhere(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), [(0xFE, "Grüße".encode(encoding))]))
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.jpg"))
    with PILImage.open(tmp_path / "b.png") as image:
        assert image.info["Comment"] == "Grüße"
    (tmp_path / "c.png").write_bytes(png_file(picture(), 2, 8, [(b"tEXt", b"Comment\0" + "Grüße".encode("latin-1"))]))
    write_image(tmp_path / "d.jpg", read_image(tmp_path / "c.png"))
    with PILImage.open(tmp_path / "d.jpg") as image:
        assert image.info["comment"] == "Grüße".encode()


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".bmp"])
def test_what_a_format_cannot_hold_is_said(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.jpg").write_bytes(captioned())
    with pytest.warns(ImageWarning, match="no place for"):
        write_image(tmp_path / f"b{suffix}", read_image(tmp_path / "a.jpg"))


def test_a_result_has_the_time_of_its_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture()))
    os.utime(tmp_path / "a.jpg", (10_000, 1_000_000_000.5))
    image = read_image(tmp_path / "a.jpg")
    write_image(tmp_path / "b.png", image)
    assert (tmp_path / "b.png").stat().st_mtime == pytest.approx(1_000_000_000.5)


def test_lossless_stays_lossless(tmp_path: Path) -> None:
    PILImage.fromarray(picture()).save(tmp_path / "a.webp", lossless=True)
    image = read_image(tmp_path / "a.webp")
    assert image.lossless
    write_image(tmp_path / "b.webp", image)
    assert np.array_equal(read_samples(read_image(tmp_path / "b.webp")), picture())
    assert read_image(tmp_path / "b.webp").lossless
    PILImage.fromarray(picture()).save(tmp_path / "c.webp", quality=90)
    assert not read_image(tmp_path / "c.webp").lossless
    write_image(tmp_path / "d.webp", image, quality=80)
    assert not read_image(tmp_path / "d.webp").lossless


@pytest.mark.parametrize("quality", [10, 50, 75, 90, 95, 98, 100])
def test_the_quality_of_a_jpeg_is_told_and_never_lowered(tmp_path: Path, quality: int) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), quality=quality))
    image = read_image(tmp_path / "a.jpg")
    assert image.quality == pytest.approx(quality, abs=1)
    write_image(tmp_path / "b.jpg", image)
    assert read_image(tmp_path / "b.jpg").quality == pytest.approx(max(95, quality), abs=1)
    write_image(tmp_path / "c.jpg", image, quality=60)
    assert read_image(tmp_path / "c.jpg").quality == pytest.approx(60, abs=1)


def test_a_second_picture_is_named(tmp_path: Path) -> None:
    first, second = PILImage.fromarray(picture()), PILImage.fromarray(255 - picture())
    first.save(tmp_path / "a.mpo", format="MPO", save_all=True, append_images=[second], quality=98)
    with pytest.warns(ImageWarning, match="second picture"):
        image = read_image(tmp_path / "a.mpo")
    assert image.size == (32, 24)
    write_image(tmp_path / "b.jpg", image)
    assert b"MPF\0" not in (tmp_path / "b.jpg").read_bytes()


def test_a_gain_map_and_a_film_behind_the_picture_are_named(tmp_path: Path) -> None:
    packet = (
        b'http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/>'
    )
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), [(0xE1, packet)]) + jpeg(picture(8, 8)))
    with pytest.warns(ImageWarning, match="gain map"):
        image = read_image(tmp_path / "a.jpg")
    assert b"hdrgm:Version" not in (image.xmp or b"")
    assert b"<x " in (image.xmp or b"")
    (tmp_path / "b.jpg").write_bytes(jpeg(picture()) + b"\0\0\0\x18ftypmp42" + bytes(5000))
    with pytest.warns(ImageWarning, match="film"):
        read_image(tmp_path / "b.jpg")


def test_the_thumbnail_is_no_second_picture(tmp_path: Path) -> None:
    thumbnail = jpeg(picture(8, 8))
    block = (
        b"Exif\0\0II*\0\x08\0\0\0"
        + struct.pack("<HI", 0, 14)
        + struct.pack("<HHHIIHHIII", 2, 0x201, 4, 1, 44, 0x202, 4, 1, len(thumbnail), 0)
        + thumbnail
    )
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), [(0xE1, block)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "a.jpg").notes == ()


def test_a_cut_jpeg_is_read_with_a_warning_and_refused_when_strict(tmp_path: Path) -> None:
    data = jpeg(picture(200, 200))
    whole = tmp_path / "whole.jpg"
    whole.write_bytes(data)
    (tmp_path / "a.jpg").write_bytes(data[: len(data) * 9 // 10])
    with pytest.raises(ImageError, match="truncated"):
        read_image(tmp_path / "a.jpg", strict=True)
    with pytest.warns(ImageWarning, match="cut short"):
        found = read_samples(read_image(tmp_path / "a.jpg"))
    assert (found == read_samples(read_image(whole))).all(axis=(1, 2)).sum() > 150
    (tmp_path / "b.jpg").write_bytes(data[:400])
    with pytest.raises(ImageError, match=r"b\.jpg"):
        read_image(tmp_path / "b.jpg")


@settings(max_examples=40, deadline=None)
@given(
    suffix=st.sampled_from([".png", ".jpg", ".tif", ".webp", ".jp2", ".avif"]),
    bits=st.sampled_from([8, 16]),
    channels=st.integers(1, 4),
    turn=st.sampled_from([None, 1, 6]),
    has_packet=st.booleans(),
)
def test_everything_a_format_can_hold_comes_back(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, bits: int, channels: int, turn: int | None, has_packet: bool
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    if suffix == ".jp2" and not extra.has("imagecodecs"):
        bits = 8
    samples = picture(bits=bits, channels=4)[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    turn = 1 if suffix == ".tif" and turn == 6 else turn  # TIFF has one place for it, which says how it is stored
    if suffix == ".jpg" and channels % 2 == 0:
        samples = samples[..., :-1]
    image = as_image(samples, exif=exif(turn), xmp=xmp(1) if has_packet else None, dpi=(300, 150))
    write_image(folder / f"a{suffix}", image, quality=100)
    once = read_image(folder / f"a{suffix}")
    write_image(folder / f"b{suffix}", once, quality=100)
    again = read_image(folder / f"b{suffix}")
    assert again.bits == (8 if suffix in (".jpg", ".webp") else bits)
    assert (again.alpha is None) == (image.alpha is None or suffix == ".jpg")
    assert again.xmp == (xmp(1) if has_packet else None)
    assert again.exif is not None
    assert b"Maker" in again.exif
    assert again.pixels.shape[1:] == ((32, 24) if turn == 6 else (24, 32))
    if suffix in (".png", ".jpg", ".tif", ".jp2"):
        assert again.dpi == pytest.approx((150, 300) if turn == 6 else (300, 150), abs=0.1)
    if suffix in (".png", ".tif", ".jp2"):
        assert np.array_equal(read_samples(again), read_samples(once))


def test_hand_made_tiff_without_resolution_has_none(tmp_path: Path) -> None:
    tags: dict[int, int | tuple[int, ...]] = {256: 4, 257: 2, 258: 8, 259: 1, 262: 1, 277: 1, 278: 2}
    (tmp_path / "a.tif").write_bytes(hand_tiff([bytes(8)], tags))
    assert read_image(tmp_path / "a.tif").dpi is None
    assert io.BytesIO((tmp_path / "a.tif").read_bytes()).read(2) == b"II"


def test_captions_longer_than_a_segment_survive(tmp_path: Path) -> None:
    records = b"".join(b"\x1c\x02\x19" + struct.pack(">H", 30_000) + bytes([65 + index]) * 30_000 for index in range(5))
    write_image(tmp_path / "a.jpg", as_image(picture(), iptc=records))
    assert read_image(tmp_path / "a.jpg").iptc == records
