"""Image files.

Nothing is lost on the way in or out, and bad files get one sentence.
"""

import builtins
import errno
import functools
import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import ImageCms, ImageOps

from rebridge.images import Image, ImageError, as_floats, encode_image, metadata, read_image, write_image
from tests.images.making import chunked

LOSSLESS = (".png", ".tif")


@functools.cache
def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def camera_exif(orientation: int = 1) -> bytes:
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    exif[271] = "Maker"
    exif[33432] = "Somebody"
    exif.get_ifd(0x8769)[0x829A] = 0.01
    exif.get_ifd(0x8769)[0x9003] = "2019:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.5)
    return exif.tobytes()


def same_alpha(image: Image, other: Image) -> bool:
    """True if both have the same alpha channel, or none."""
    if image.alpha is None or other.alpha is None:
        return image.alpha is other.alpha
    return torch.equal(image.alpha, other.alpha)


def random_image(bits: int, channels: int, has_alpha: bool, height: int, width: int, seed: int = 0) -> Image:
    generator = torch.Generator().manual_seed(seed)

    def draw(planes: int) -> torch.Tensor:
        return torch.randint(0, 2**bits, (planes, height, width), generator=generator) / (2**bits - 1)

    return Image(draw(channels), bits, draw(1) if has_alpha else None)


@pytest.mark.parametrize("suffix", LOSSLESS)
@settings(max_examples=40, deadline=None)
@given(
    bits=st.sampled_from([8, 16]),
    channels=st.sampled_from([1, 3]),
    has_alpha=st.booleans(),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 999),
)
def test_png_and_tiff_keep_every_bit_of_colour_and_alpha(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    bits: int,
    channels: int,
    has_alpha: bool,
    height: int,
    width: int,
    seed: int,
) -> None:
    path = tmp_path_factory.mktemp("image") / f"image{suffix}"
    image = random_image(bits, channels, has_alpha, height, width, seed)
    write_image(path, image)
    again = read_image(path)
    assert again.bits == bits
    assert torch.equal(again.pixels, image.pixels)
    assert same_alpha(again, image)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("channels", "has_alpha"), [(1, False), (3, False), (3, True)])
def test_opencv_reads_the_same_samples_from_our_png(tmp_path: Path, bits: int, channels: int, has_alpha: bool) -> None:
    image = random_image(bits, channels, has_alpha, 300, 17)  # more rows than are filtered at once
    write_image(tmp_path / "a.png", image)
    samples = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    planes = image.pixels if image.alpha is None else torch.cat([image.pixels, image.alpha])
    assert samples is not None
    expected = (
        (planes * (2**bits - 1))
        .round()
        .permute(1, 2, 0)
        .numpy()[..., [0] if channels == 1 else [2, 1, 0, 3][: len(planes)]]
    )
    assert samples.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.array_equal(samples.reshape(expected.shape), expected)


def test_smooth_pictures_compress_as_well_as_pillow_compresses_them(tmp_path: Path) -> None:
    ramp = torch.linspace(0, 1, 200)[:, None] * torch.linspace(0, 1, 300)[None]
    write_image(tmp_path / "ours.png", Image(torch.stack([ramp, ramp.flip(0), ramp.flip(1)])))
    PILImage.open(tmp_path / "ours.png").save(tmp_path / "pillow.png")
    assert (tmp_path / "ours.png").stat().st_size < 1.1 * (tmp_path / "pillow.png").stat().st_size


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_formats_stay_close_at_high_quality(tmp_path: Path, name: str) -> None:
    ramp = torch.linspace(0, 1, 64).expand(64, 64)
    image = Image(torch.stack([ramp, ramp.T, 1 - ramp]))
    write_image(tmp_path / name, image)
    assert (read_image(tmp_path / name).pixels - image.pixels).abs().max() < 0.05


def test_webp_of_quality_100_is_lossless_and_alpha_is_exact_at_any_quality(tmp_path: Path) -> None:
    image = random_image(8, 3, True, 20, 30)
    write_image(tmp_path / "lossless.webp", image, quality=100)
    write_image(tmp_path / "lossy.webp", image, quality=80)
    assert torch.equal(read_image(tmp_path / "lossless.webp").pixels, image.pixels)
    assert same_alpha(read_image(tmp_path / "lossless.webp"), image)
    assert same_alpha(read_image(tmp_path / "lossy.webp"), image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a16.png", "a.tif", "a16.tif", "a.webp"])
def test_exif_orientation_is_applied_to_the_pixels_and_set_to_one(tmp_path: Path, name: str, orientation: int) -> None:
    path = tmp_path / name
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:8, :8] = (255, 0, 0)
    stored[8:, 16:] = (0, 255, 0)
    if name == "a16.png":
        image = Image(torch.from_numpy(stored).permute(2, 0, 1) / 255, 16, exif=camera_exif(orientation))
        write_image(path, image)  # written as given: the writer leaves turning to the reader
    elif name == "a16.tif":
        tifffile.imwrite(path, stored.astype(np.uint16) * 257, extratags=[(274, "H", 1, orientation, True)])
    else:
        PILImage.fromarray(stored).save(path, exif=camera_exif(orientation), quality=100, lossless=True)
    picture = PILImage.fromarray(stored)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    image = read_image(path)
    assert image.size == (expected.shape[1], expected.shape[0])
    assert np.abs(image.pixels.permute(1, 2, 0).numpy() * 255 - expected).mean() < 5
    write_image(path, image, overwrite=True)
    assert PILImage.open(path).getexif().get(0x0112, 1) == 1
    assert torch.equal((read_image(path).pixels > 0.5), (image.pixels > 0.5))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_exif_icc_xmp_and_resolution_survive(tmp_path: Path, suffix: str, bits: int) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rating>5</rating></x:xmpmeta>'
    image, profile = random_image(bits, 3, False, 11, 13), srgb_profile()  # a second profile would carry another time
    given_image = Image(image.pixels, bits, exif=camera_exif(), icc=profile, xmp=xmp, dpi=(300, 150))
    write_image(tmp_path / f"a{suffix}", given_image)
    # Twice, so that what is read is also what can be written.
    write_image(tmp_path / f"b{suffix}", read_image(tmp_path / f"a{suffix}"))
    again = read_image(tmp_path / f"b{suffix}")
    assert again.icc == profile
    assert again.xmp == xmp
    assert again.dpi == (pytest.approx((300, 150), abs=0.02) if suffix != ".webp" else None)
    exif = PILImage.open(tmp_path / f"b{suffix}").getexif()
    assert exif[271] == "Maker"
    assert exif[33432] == "Somebody"
    assert exif.get_ifd(0x8769)[0x829A] == pytest.approx(0.01)
    assert exif.get_ifd(0x8769)[0x9003] == "2019:01:02 03:04:05"
    assert exif.get_ifd(0x8825)[2] == (1.0, 2.0, 3.5)


def test_big_endian_exif_survives_in_tiff(tmp_path: Path) -> None:
    exif = PILImage.Exif()
    exif.endian = ">"
    exif[0x0112] = 6
    exif[271] = "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2019:01:02 03:04:05"
    assert exif.tobytes()[6:8] == b"MM"
    orientation, upright = metadata.upright_exif(exif.tobytes())
    write_image(tmp_path / "a.tif", Image(random_image(16, 3, False, 5, 6).pixels, 16, exif=upright))
    found = PILImage.open(tmp_path / "a.tif").getexif()
    assert orientation == 6
    assert found[271] == "Maker"
    assert found.get_ifd(0x8769)[0x9003] == "2019:01:02 03:04:05"


def test_text_and_gamma_of_a_png_are_copied(tmp_path: Path) -> None:
    chunks = ((b"gAMA", struct.pack(">I", 45455)), (b"tEXt", b"Comment\0hello"))
    write_image(tmp_path / "a.png", Image(torch.rand(3, 4, 4), chunks=chunks))
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    assert PILImage.open(tmp_path / "b.png").info["Comment"] == "hello"
    assert PILImage.open(tmp_path / "b.png").info["gamma"] == pytest.approx(0.45455)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_malformed_exif_is_dropped_and_never_crashes(data: bytes) -> None:
    orientation, _ = metadata.upright_exif(data)
    assert orientation in range(1, 9)
    orientation, _ = metadata.upright_exif(b"Exif\0\0II*\0\x08\0\0\0" + data)
    assert orientation in range(1, 9)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(deadline=None)
@given(st.binary(max_size=200))
def test_exif_with_broken_directories_is_left_out_of_tiff_and_the_picture_is_kept(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("exif") / "a.tif"
    pointers = struct.pack("<HHHIIHHIII", 2, 0x8769, 4, 1, 38, 0x8825, 4, 1, 40, 0)
    image = random_image(16, 3, False, 3, 4)
    write_image(path, Image(image.pixels, 16, exif=b"Exif\0\0II*\0\x08\0\0\0" + pointers + data))
    assert torch.equal(read_image(path).pixels, image.pixels)


def test_palette_cmyk_bilevel_and_two_channel_files_become_grey_or_rgb(tmp_path: Path) -> None:
    colours = PILImage.fromarray(np.random.default_rng(0).integers(0, 255, (9, 8, 3), dtype=np.uint8))
    colours.quantize(7).save(tmp_path / "palette.png")
    colours.convert("1").save(tmp_path / "bilevel.png")
    colours.convert("LA").save(tmp_path / "la.png")
    PILImage.new("CMYK", (8, 9), (0, 0, 0, 0)).save(tmp_path / "white.jpg")
    assert read_image(tmp_path / "palette.png").pixels.shape == (3, 9, 8)
    assert read_image(tmp_path / "bilevel.png").pixels.unique().tolist() == [0, 1]
    assert read_image(tmp_path / "la.png").mode == "grey"
    assert read_image(tmp_path / "la.png").alpha is not None
    assert read_image(tmp_path / "white.jpg").pixels.min() > 0.97


def test_transparent_palette_entries_become_alpha(tmp_path: Path) -> None:
    picture = PILImage.new("P", (4, 4), 0)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 2), 1)
    picture.save(tmp_path / "a.png", transparency=1)
    image = read_image(tmp_path / "a.png")
    assert image.alpha is not None
    assert (image.alpha == 0).nonzero().tolist() == [[0, 2, 1]]


def test_tiff_with_premultiplied_alpha_is_divided_by_it(tmp_path: Path) -> None:
    colour, alpha = 40000, 20000
    samples = np.full((5, 6, 4), colour * alpha // 65535, np.uint16)
    samples[..., 3] = alpha
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["assocalpha"])
    image = read_image(tmp_path / "a.tif")
    assert image.alpha is not None
    assert image.alpha.mean() * 65535 == pytest.approx(alpha)
    assert image.pixels.mean() * 65535 == pytest.approx(colour, abs=4)


@pytest.mark.parametrize("layout", ["planar", "white-is-zero", "lzw", "grey-lzw"])
def test_16_bit_tiff_of_every_layout_is_read(tmp_path: Path, layout: str) -> None:
    truth = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    path = tmp_path / "a.tif"
    if layout == "planar":
        tifffile.imwrite(path, np.moveaxis(truth, 2, 0), photometric="rgb", planarconfig="separate")
    elif layout == "white-is-zero":
        truth = truth[..., :1]
        tifffile.imwrite(path, 65535 - truth[..., 0], photometric="miniswhite")
    else:
        truth = truth if layout == "lzw" else truth[..., :1]
        cv2.imwrite(str(path), truth[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert np.array_equal((read_image(path).pixels.permute(1, 2, 0).numpy() * 65535).round(), truth)


def test_an_existing_file_is_never_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(ImageError, match="without --overwrite"):
        write_image(path, random_image(8, 3, False, 4, 4))
    assert path.read_bytes() == b"precious"
    write_image(path, random_image(8, 3, False, 4, 4), overwrite=True)
    assert read_image(path).size == (4, 4)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("has_before", [False, True])
def test_a_full_disk_leaves_no_file_and_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_before: bool
) -> None:
    path = tmp_path / "a.png"
    if has_before:
        path.write_bytes(b"precious")

    class FullDisk(io.FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            super().write(bytes(data)[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    real_open = builtins.open

    def open_on_full_disk(file: str, mode: str = "r", **options: Any) -> object:
        return FullDisk(file, "x") if "x" in mode else real_open(file, mode, **options)

    monkeypatch.setattr(builtins, "open", open_on_full_disk)
    with pytest.raises(ImageError, match=r"a\.png: cannot be written: No space left on device$"):
        write_image(path, random_image(8, 3, False, 4, 4), overwrite=True)
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == (["a.png"] if has_before else [])
    if has_before:
        assert path.read_bytes() == b"precious"


def test_a_disk_without_hard_links_gets_the_file_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    image = random_image(8, 3, False, 4, 4)
    write_image(tmp_path / "a.png", image)
    assert torch.equal(read_image(tmp_path / "a.png").pixels, image.pixels)
    with pytest.raises(ImageError, match="exists already"):
        write_image(tmp_path / "a.png", image)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.png", "a16.png", "a.jpg", "a.webp", "a.tif", "a16.tif"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_a_truncated_file_gets_one_sentence_that_names_it_when_strict(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    write_image(path, random_image(16 if "16" in name else 8, 3, False, 60, 50))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError) as caught:
        read_image(path, strict=True)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["a.png", "a16.png", "a.jpg", "a.webp", "a.tif", "a16.tif"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_an_image_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / name
    write_image(path, random_image(16 if "16" in name else 8, 3, False, 9, 11))
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(damaged))
    message = str(path)
    try:
        assert torch.isfinite(read_image(path, max_pixels=1_000_000).pixels).all()
    except ImageError as error:
        message = str(error)
    assert str(path) in message
    assert "\n" not in message


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, random_image(16, 3, False, 30, 30))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match="IDAT chunk is damaged"):
        read_image(path, strict=True)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    (tmp_path / "bomb.png").write_bytes(chunked(chunks))
    with pytest.raises(ImageError, match="60000 x 60000 pixels are more than the limit"):
        read_image(tmp_path / "bomb.png")
    write_image(tmp_path / "small.png", random_image(8, 3, False, 10, 10))
    with pytest.raises(ImageError, match="limit of 99 "):
        read_image(tmp_path / "small.png", max_pixels=99)


def test_what_is_no_still_image_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    frames = [PILImage.new("L", (4, 4), value) for value in (0, 255)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((4, 4), np.float32))
    for name, words in {
        "missing.png": "no such file",
        ".": "is a folder",
        "text.png": "no known image format",
        "film.gif": "animation",
        "pages.tif": "2 pages",
        "float.tif": "float32",
    }.items():
        with pytest.raises(ImageError, match=words):
            read_image(tmp_path / name)


def test_what_cannot_be_written_gets_one_sentence(tmp_path: Path) -> None:
    image = random_image(8, 3, True, 4, 4)
    with pytest.raises(ImageError, match="transparency"):
        write_image(tmp_path / "a.jpg", image)
    with pytest.raises(ImageError, match="unknown image suffix"):
        write_image(tmp_path / "a.xyz", image)
    with pytest.raises(ImageError, match="quality"):
        write_image(tmp_path / "a.png", image, quality=0)
    with pytest.raises(ImageError, match="NaN"):
        write_image(tmp_path / "a.png", Image(torch.full((3, 4, 4), float("nan"))))
    with pytest.raises(ImageError, match="shape"):
        write_image(tmp_path / "a.png", Image(torch.zeros(2, 4, 4)))
    assert list(tmp_path.iterdir()) == []


def test_opaque_alpha_is_left_out_of_jpeg(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", Image(torch.rand(3, 4, 4), alpha=torch.ones(1, 4, 4)))
    assert read_image(tmp_path / "a.jpg").alpha is None


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_large_pictures_can_be_kept_as_bytes(tmp_path: Path, suffix: str, channels: int) -> None:
    image = replace(random_image(8, channels, False, 20, 30), comment=b"said")
    write_image(tmp_path / f"in{suffix}", image)
    floats, kept = (read_image(tmp_path / f"in{suffix}", bytes_beyond=limit) for limit in (600, 599))
    assert floats.pixels.dtype == torch.float32
    assert kept.pixels.dtype == torch.uint8
    assert torch.equal(as_floats(kept.pixels), floats.pixels)
    assert torch.equal(kept.visible_pixels, floats.pixels)
    assert replace(kept, pixels=floats.pixels) == replace(floats, pixels=floats.pixels)
    for other in (".png", ".tif"):
        assert encode_image(kept, other) == encode_image(floats, other)
    assert torch.equal(as_floats(torch.arange(256, dtype=torch.uint8)), torch.arange(256) / 255)


def test_bytes_become_samples_of_16_bits(tmp_path: Path) -> None:
    image = Image(torch.arange(12, dtype=torch.uint8).view(1, 3, 4) + 200, bits=16)
    write_image(tmp_path / "out.png", image)
    assert torch.equal(read_image(tmp_path / "out.png").pixels, as_floats(image.pixels))


def test_pictures_of_16_bits_and_with_alpha_become_floats(tmp_path: Path) -> None:
    for bits, has_alpha in ((16, False), (8, True)):
        write_image(tmp_path / "in.png", random_image(bits, 3, has_alpha, 4, 5), overwrite=True)
        assert read_image(tmp_path / "in.png", bytes_beyond=0).pixels.dtype == torch.float32
