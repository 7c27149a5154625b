"""Formats.

Each is told by its content, gives all its bits, or one sentence; Pillow is asked for no other.
"""

import io
import os
import stat
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from rebridge.images import READABLE_SUFFIXES, ImageError, ImageWarning, read_image, result_suffix, sniff, write_image
from tests.images.making import as_image, exif, jpeg, picture, read_samples, small_dng, xmp


def module(name: str) -> ModuleType:
    """An optional package, or a skipped test."""
    return pytest.importorskip(name)


@pytest.mark.parametrize("maximum", [1, 7, 100, 255, 256, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6, 7])
def test_portable_pixmaps_keep_all_their_bits(tmp_path: Path, kind: int, maximum: int) -> None:
    channels = {2: 1, 3: 3, 5: 1, 6: 3, 7: 4}[kind]
    samples = np.random.default_rng(0).integers(0, maximum + 1, (6, 5, channels))
    head = f"P{kind}\n# a comment\n5 6\n{maximum}\n".encode()
    if kind == 7:
        head = f"P7\nWIDTH 5\nHEIGHT 6\nDEPTH 4\nMAXVAL {maximum}\nTUPLTYPE RGB_ALPHA\nENDHDR\n".encode()
    if kind in (2, 3):
        body = " ".join(map(str, samples.ravel())).encode()
    else:
        body = samples.astype(np.uint8 if maximum < 256 else ">u2").tobytes()
    (tmp_path / "a.pnm").write_bytes(head + body)
    image = read_image(tmp_path / "a.pnm")
    top = 255 if maximum < 256 else 65535
    assert image.bits == (8 if top == 255 else 16)
    assert np.abs(read_samples(image) / top - samples / maximum).max() <= 0.5 / top + 1e-9


@pytest.mark.parametrize("body", [b"P1\n3 2\n101\n010\n", b"P4\n3 2\n\xa0\x40"])
def test_bitmaps_are_black_where_they_say_one(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "a.pbm").write_bytes(body)
    assert read_samples(read_image(tmp_path / "a.pbm")).squeeze().tolist() == [[0, 255, 0], [255, 0, 255]]


def test_a_cut_pixmap_is_read_with_a_warning(tmp_path: Path) -> None:
    samples = picture()
    (tmp_path / "a.ppm").write_bytes(b"P6 32 24 255\n" + samples.tobytes()[: 32 * 3 * 20 + 5])
    with pytest.raises(ImageError, match="cut short"):
        read_image(tmp_path / "a.ppm", strict=True)
    with pytest.warns(ImageWarning, match="4 of its 24 rows"):
        found = read_samples(read_image(tmp_path / "a.ppm"))
    assert np.array_equal(found[:20], samples[:20])


@pytest.mark.parametrize("head", [b"P6 32 24 255\n", b"P5 96 24 255\n", b"P4 768 24\n"])
@pytest.mark.parametrize("behind", [b"", b"\n", b"no picture"])
def test_a_second_pixmap_in_a_file_is_named(tmp_path: Path, head: bytes, behind: bytes) -> None:
    one = head + picture().tobytes()
    (tmp_path / "a.pnm").write_bytes(one + behind)
    assert read_image(tmp_path / "a.pnm").notes == ()
    (tmp_path / "a.pnm").write_bytes(one + one)
    with pytest.warns(ImageWarning, match="second picture is not kept"):
        read_image(tmp_path / "a.pnm")


def test_a_cut_gif_keeps_its_colours(tmp_path: Path) -> None:
    coloured = PILImage.fromarray(picture()).quantize(64)
    coloured.save(tmp_path / "whole.gif", interlace=False)
    data = (tmp_path / "whole.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(data[: len(data) * 9 // 10])
    with pytest.warns(ImageWarning, match="cut short"):
        found = read_samples(read_image(tmp_path / "cut.gif"))
    assert np.array_equal(found[:12], np.asarray(coloured.convert("RGB"))[:12])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_2000_keeps_every_bit(tmp_path: Path, bits: int, channels: int) -> None:
    if channels == 2:
        module("imagecodecs")
    samples = picture(48, 64, bits, 4)[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    write_image(tmp_path / "a.jp2", as_image(samples))
    assert np.array_equal(read_samples(read_image(tmp_path / "a.jp2")), samples)


def test_jpeg_2000_of_opencv_and_of_twelve_bits_is_read(tmp_path: Path) -> None:
    samples = picture(48, 64, bits=16)
    cv2.imwrite(str(tmp_path / "a.jp2"), samples[..., ::-1].copy(), [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    assert np.array_equal(read_samples(read_image(tmp_path / "a.jp2")), samples)
    codec = module("imagecodecs")
    twelve = picture(bits=12)
    data = codec.jpeg2k_encode(twelve, level=0, codecformat="jp2", bitspersample=12, reversible=True)
    (tmp_path / "b.jp2").write_bytes(data)
    image = read_image(tmp_path / "b.jp2")
    assert (image.bits, image.depth) == (16, 12)
    assert np.array_equal(read_samples(image), (twelve.astype(int) * 65535 * 2 + 4095) // (2 * 4095))


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif_keeps_its_depth(tmp_path: Path, channels: int, depth: int) -> None:
    samples = picture(bits=depth, channels=channels)
    widened = samples if depth == 8 else ((samples.astype(int) * 65535 * 2 + 2**depth - 1) // (2 * (2**depth - 1)))
    widened = widened.astype(np.uint8 if depth == 8 else np.uint16)
    image = as_image(widened, exif=exif(), xmp=xmp(1), depth=depth if depth == 10 else None)
    write_image(tmp_path / "a.avif", image, quality=100)
    again = read_image(tmp_path / "a.avif")
    assert (again.bits, again.depth) == ((8, None) if depth == 8 else (16, depth))
    assert np.array_equal(
        read_samples(again)[..., : len(again.pixels)].squeeze(), widened[..., :3] if channels > 1 else widened
    )
    assert again.xmp == xmp(1)
    assert b"Maker" in (again.exif or b"")


def test_avif_of_ten_bits_by_another_encoder_is_read(tmp_path: Path) -> None:
    codec = module("imagecodecs")
    samples = picture(bits=10)
    data = codec.avif_encode(samples, level=codec.AVIF.QUALITY.LOSSLESS, bitspersample=10, speed=8)
    (tmp_path / "a.avif").write_bytes(data)
    image = read_image(tmp_path / "a.avif")
    assert np.array_equal(read_samples(image), (samples.astype(int) * 65535 * 2 + 1023) // 2046)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_xl_keeps_every_bit_and_its_metadata(tmp_path: Path, channels: int, bits: int) -> None:
    module("imagecodecs")
    samples = picture(bits=bits, channels=4)[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    write_image(tmp_path / "a.jxl", as_image(samples, exif=exif(), xmp=xmp(1)), quality=100)
    image = read_image(tmp_path / "a.jxl")
    assert np.array_equal(read_samples(image), samples)
    assert image.xmp == xmp(1)
    assert b"Maker" in (image.exif or b"")
    assert image.lossless
    write_image(tmp_path / "b.jxl", image)
    assert np.array_equal(read_samples(read_image(tmp_path / "b.jxl")), samples)
    write_image(tmp_path / "c.jxl", image, quality=90)
    lossy = read_image(tmp_path / "c.jxl")
    assert lossy.lossless == (bits == 16)
    assert np.abs(read_samples(lossy)[..., 0] - samples[..., 0]).mean() < 0.03 * 2**bits


def test_jpeg_xl_of_ten_bits_spans_the_whole_range(tmp_path: Path) -> None:
    codec = module("imagecodecs")
    samples = picture(bits=10)
    (tmp_path / "a.jxl").write_bytes(codec.jpegxl_encode(samples, lossless=True, bitspersample=10))
    image = read_image(tmp_path / "a.jxl")
    assert image.depth == 10
    assert np.array_equal(read_samples(image), (samples.astype(int) * 65535 * 2 + 1023) // 2046)


def test_jpeg_xl_is_measured_before_it_is_decoded(tmp_path: Path) -> None:
    codec = module("imagecodecs")
    for height, width in ((24, 32), (24, 33), (300, 200), (256, 256), (8, 2000)):
        (tmp_path / "a.jxl").write_bytes(codec.jpegxl_encode(picture(height, width), lossless=True))
        with pytest.raises(ImageError, match=f"{width} x {height} pixels"):
            read_image(tmp_path / "a.jxl", max_pixels=width * height - 1)
        assert read_image(tmp_path / "a.jxl").size == (width, height)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_heic_is_read_with_all_its_bits(tmp_path: Path, bits: int) -> None:
    heif = module("pillow_heif")
    samples = np.full((64, 64), 2**bits // 3, np.uint8 if bits == 8 else np.uint16)
    samples[:, 32:] = 2**bits - 1
    stack = np.dstack([samples] * 3)
    file = heif.from_bytes("RGB" if bits == 8 else f"RGB;{bits}", (64, 64), stack.tobytes())
    buffer = io.BytesIO()
    file.save(buffer, quality=-1, exif=exif())
    (tmp_path / "a.heic").write_bytes(buffer.getvalue())
    image = read_image(tmp_path / "a.heic")
    assert image.bits == (8 if bits == 8 else 16)
    found = read_samples(image) / (2**image.bits - 1)
    assert np.abs(found - stack / (2**bits - 1)).max() < 0.01
    assert b"Maker" in (image.exif or b"")
    with pytest.raises(ImageError, match="limit"):
        read_image(tmp_path / "a.heic", max_pixels=100)


def test_a_turned_heic_is_turned_once(tmp_path: Path) -> None:
    heif = module("pillow_heif")
    buffer = io.BytesIO()
    samples = np.zeros((64, 128, 3), np.uint8)
    samples[:, :64, 0] = samples[:32, 64:, 1] = 255
    heif.from_pillow(PILImage.fromarray(samples)).save(buffer, quality=90, exif=exif(6))
    (tmp_path / "a.heic").write_bytes(buffer.getvalue())
    found = read_samples(read_image(tmp_path / "a.heic"))
    assert found.shape == (128, 64, 3)
    assert np.abs(found - np.rot90(samples, -1)).mean() < 5


def test_camera_raw_becomes_16_bit_srgb(tmp_path: Path) -> None:
    module("rawpy")
    samples = np.full((64, 96), 20000, np.uint16)
    samples[:, 48:] = 40000
    small_dng(samples, tmp_path / "a.dng")
    image = read_image(tmp_path / "a.dng")
    assert (image.bits, image.mode, image.size) == (16, "rgb", (96, 64))
    assert image.pixels[:, :, 60:90].mean() > image.pixels[:, :, 10:40].mean() + 0.1
    with pytest.raises(ImageError, match="limit"):
        read_image(tmp_path / "a.dng", max_pixels=100)
    (tmp_path / "b.cr2").write_bytes(b"II*\0\x10\0\0\0CR\2\0" + bytes(100))
    with pytest.raises(ImageError, match="LibRaw"):
        read_image(tmp_path / "b.cr2")


@pytest.mark.parametrize(
    ("package", "name", "content"),
    [
        ("imagecodecs", "a.jxl", b"\xff\x0a\xcb\xc0\xa2\xb8\x11\x08\x10\x10\x00\xa0"),
        ("pillow_heif", "a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50)),
        ("rawpy", "a.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(100)),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str, content: bytes
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=rf"package {package}: pip install 'rebridge\[formats\]'"):
        read_image(tmp_path / name)
    if name == "a.jxl":
        with pytest.raises(ImageError, match=r"rebridge\[formats\]"):
            write_image(tmp_path / "b.jxl", as_image(picture()))


def test_jpeg_of_twelve_bits_is_kept_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = module("imagecodecs")
    samples = picture(bits=12)
    (tmp_path / "a.jpg").write_bytes(codec.jpeg_encode(samples, level=98, bitspersample=12))
    image = read_image(tmp_path / "a.jpg")
    assert image.bits == 16
    assert np.abs(read_samples(image) / 65535 - samples / 4095).mean() < 0.02
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageError, match="formats"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize("suffix", [".bmp", ".tga", ".gif", ".png"])
def test_old_formats_are_read_exactly(tmp_path: Path, suffix: str, mode: str) -> None:
    source = PILImage.fromarray(picture(channels=4)).convert("RGB").quantize(16).convert("RGB").convert(mode)
    if (suffix == ".gif" and mode == "RGBA") or (suffix == ".tga" and mode == "P"):
        return
    source.save(tmp_path / f"a{suffix}")
    expected = np.asarray(PILImage.open(tmp_path / f"a{suffix}").convert("RGB"))
    found = read_samples(read_image(tmp_path / f"a{suffix}"))[..., :3]
    assert np.array_equal(np.broadcast_to(found, expected.shape), expected)


def test_bmp_is_written_without_loss(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="BMP cannot hold transparency"):
        write_image(tmp_path / "4.bmp", as_image(picture(channels=4)))
    for channels in (1, 3):
        write_image(tmp_path / f"{channels}.bmp", as_image(picture(channels=channels)))
        assert np.array_equal(
            read_samples(read_image(tmp_path / f"{channels}.bmp")).squeeze(), picture(channels=channels)
        )


def test_content_goes_before_the_suffix(tmp_path: Path) -> None:
    for name, data in (
        ("a.png", jpeg(picture())),
        ("a.jpg", png_bytes()),
        ("a.tif", png_bytes()),
        ("noname", png_bytes()),
    ):
        (tmp_path / name).write_bytes(data)
        image = read_image(tmp_path / name)
        assert image.size == (32, 24)
        assert image.format == ("JPEG" if name == "a.png" else "PNG")


def png_bytes() -> bytes:
    """A PNG file by Pillow."""
    buffer = io.BytesIO()
    PILImage.fromarray(picture()).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.tif", "photo.tga", "photo.eps"])
def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tool = tmp_path / "bin" / "gs"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / name).write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n0 0 32 32 rectfill\nshowpage\n%%EOF\n"
    )
    with pytest.raises(ImageError, match="PostScript"):
        read_image(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_pillow_is_asked_for_one_format_only() -> None:
    """No module opens a picture without naming its format."""
    folder = Path(sniff.__file__).parent
    for path in folder.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert "PILImage.open(" not in line or "formats=" in line, path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"8BPS\0\1" + bytes(30), "Photoshop"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x76\x2f\x31\x01" + bytes(30), "OpenEXR"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\0\0\0\x18ftypisom" + bytes(30), "film"),
        (b"PK\x03\x04", "ZIP"),
        (b"hello", "no known image format"),
        (b"", "empty"),
        (b"\xff\xd8\xff\xf7" + bytes(30), "JPEG-LS"),
    ],
)
def test_foreign_files_get_one_sentence_that_says_what_they_are(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=words) as caught:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


@settings(max_examples=300)
@given(st.binary(max_size=64), st.sampled_from(READABLE_SUFFIXES))
def test_any_head_is_identified_or_not_without_an_error(head: bytes, suffix: str) -> None:
    sniff.identify(head, suffix)
    sniff.foreign(head)


def test_results_of_rare_formats_are_png_unless_asked() -> None:
    assert [result_suffix(suffix) for suffix in (".JPG", ".webp", ".tiff", ".jp2", ".avif", ".heic", ".gif")] == [
        ".JPG",
        ".webp",
        ".tiff",
        *[".png"] * 4,
    ]


def test_importing_needs_none_of_the_optional_packages() -> None:
    code = "import sys, rebridge.images\nprint(sorted({'imagecodecs', 'rawpy', 'pillow_heif'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(result.stdout.strip()[1:-1].replace("'", "").split(", ")) - {""}
    assert found <= {"imagecodecs"}  # tifffile imports it by itself where it is installed


def test_brands_of_media_files_are_told_apart() -> None:
    def ftyp(major: bytes, *others: bytes) -> bytes:
        return struct.pack(">I4s4sI", 16 + 4 * len(others), b"ftyp", major, 0) + b"".join(others)

    assert sniff.identify(ftyp(b"avif", b"mif1", b"miaf")) == "AVIF"
    assert sniff.identify(ftyp(b"mif1", b"avif", b"miaf")) == "AVIF"
    assert sniff.identify(ftyp(b"heic", b"mif1")) == "HEIF"
    assert sniff.identify(ftyp(b"mif1", b"heic")) == "HEIF"
    assert sniff.identify(ftyp(b"crx ", b"isom")) == "RAW"
    assert sniff.identify(ftyp(b"isom", b"mp42")) is None


@pytest.mark.parametrize("quality", [90, 94, 95, 100])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_noisiest_pictures_are_written_as_jpeg_too(tmp_path: Path, quality: int, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (480, 640, channels), np.uint8)
    write_image(tmp_path / "a.jpg", as_image(samples), quality=quality)
    with PILImage.open(tmp_path / "a.jpg") as found:
        difference = np.asarray(found, float).reshape(samples.shape) - samples
    assert np.abs(difference).mean() < 12
