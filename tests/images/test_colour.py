"""Colour that a format says in its own way.

It is said by an ICC profile where the target has no other way.
"""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import ImageCms

from rebridge.images import profiles, read_image, write_image
from tests.images.making import as_image, picture, read_samples
from tests.images.making import png as png_file

P3 = (b"cICP", bytes([12, 13, 0, 1]))
LINEAR = (b"gAMA", struct.pack(">I", 100000))
WIDE = (b"cHRM", struct.pack(">8I", 31270, 32900, 73500, 26500, 11500, 82600, 15700, 1800))


def shown(path: Path) -> np.ndarray:
    """The picture in sRGB, as a viewer shows it that obeys its profile."""
    with PILImage.open(path) as image:
        icc = image.info.get("icc_profile")
        if icc is None:
            return np.asarray(image.convert("RGB")).astype(int)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        srgb = ImageCms.createProfile("sRGB")
        result = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
        assert result is not None
        return np.asarray(result).astype(int)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif", ".jp2", ".avif"])
@pytest.mark.parametrize("chunk", [LINEAR, P3, WIDE, (b"cICP", bytes([9, 16, 0, 1]))])
def test_what_png_says_about_colour_becomes_a_profile_elsewhere(
    tmp_path: Path, chunk: tuple[bytes, bytes], suffix: str
) -> None:
    (tmp_path / "a.png").write_bytes(png_file(picture(), 2, 8, [chunk]))
    write_image(tmp_path / f"b{suffix}", read_image(tmp_path / "a.png"), quality=100)
    again = read_image(tmp_path / f"b{suffix}")
    assert again.icc is not None
    ImageCms.ImageCmsProfile(io.BytesIO(again.icc))
    assert np.abs(read_samples(again) - picture()).mean() < 2


def test_a_linear_picture_is_shown_as_bright_as_it_is(tmp_path: Path) -> None:
    linear = (((picture() / 255.0) ** 2.2) * 255).round().astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png_file(linear, 2, 8, [LINEAR]))
    write_image(tmp_path / "b.tif", read_image(tmp_path / "a.png"))
    bright = linear.min(axis=2) > 20
    assert np.abs(shown(tmp_path / "b.tif") - picture())[bright].max() <= 8


def test_display_p3_is_shown_as_littlecms_shows_its_own_p3(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_file(picture(), 2, 8, [P3]))
    write_image(tmp_path / "b.tif", read_image(tmp_path / "a.png"))
    primaries = np.array([[0.68, 0.32, 0], [0.265, 0.69, 0], [0.15, 0.06, 0]])
    primaries[:, 2] = 1 - primaries.sum(1)
    to_xyz = {}
    for name, corners in (
        ("p3", primaries),
        ("srgb", np.array([[0.64, 0.33, 0.03], [0.3, 0.6, 0.1], [0.15, 0.06, 0.79]])),
    ):
        columns = (corners / corners[:, 1:2]).T
        white = np.array([0.3127 / 0.3290, 1, 0.3583 / 0.3290])
        to_xyz[name] = columns * np.linalg.solve(columns, white)
    values = picture() / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = (light @ (np.linalg.inv(to_xyz["srgb"]) @ to_xyz["p3"]).T).clip(0, 1)
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(shown(tmp_path / "b.tif") - expected).max() <= 2


@pytest.mark.parametrize("chunks", [[], [(b"gAMA", struct.pack(">I", 45455))], [(b"sRGB", b"\0"), LINEAR]])
def test_srgb_needs_no_profile(tmp_path: Path, chunks: list[tuple[bytes, bytes]]) -> None:
    (tmp_path / "a.png").write_bytes(png_file(picture(), 2, 8, chunks))
    write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.png"))
    assert read_image(tmp_path / "b.jpg").icc is None


def test_grey_gets_a_grey_profile(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_file(picture(channels=1), 0, 8, [LINEAR]))
    write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.png"))
    icc = read_image(tmp_path / "b.jpg").icc
    assert icc is not None
    assert icc[16:20] == b"GRAY"
    ImageCms.ImageCmsProfile(io.BytesIO(icc))


def test_a_png_keeps_its_chunks_and_gets_no_second_profile(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_file(picture(), 2, 8, [P3]))
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    data = (tmp_path / "b.png").read_bytes()
    assert b"cICP" + P3[1] in data
    assert b"iCCP" not in data


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"gAMA", b"cHRM", b"cICP", b"sRGB"]), st.binary(max_size=40)), max_size=4))
def test_nonsense_about_colour_gives_a_profile_that_opens_or_none(chunks: list[tuple[bytes, bytes]]) -> None:
    for grey in (False, True):
        icc = profiles.from_chunks(tuple(chunks), grey)
        if icc is not None:
            ImageCms.ImageCmsProfile(io.BytesIO(icc))


@pytest.mark.parametrize("primaries", [1, 4, 5, 6, 7, 8, 9, 11, 12, 22])
@pytest.mark.parametrize("transfer", [1, 4, 5, 8, 13, 16, 18])
def test_every_named_colour_space_has_a_sound_profile_with_white_at_d50(primaries: int, transfer: int) -> None:
    icc = profiles.from_cicp(primaries, transfer)
    if icc is None:
        assert (primaries, transfer) in ((1, 1), (1, 13))
        return
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
    corners = [profile.red_colorant, profile.green_colorant, profile.blue_colorant]
    total = np.sum([corner[0] for corner in corners if corner is not None], axis=0)
    assert total == pytest.approx([0.9642, 1, 0.8249], abs=2e-3)


def test_the_profile_of_avif_is_kept(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_image(tmp_path / "a.avif", as_image(picture(bits=16), icc=icc))
    assert read_image(tmp_path / "a.avif").icc == icc


@pytest.mark.parametrize("bits", [8, 10])
def test_the_code_points_of_an_avif_are_kept(tmp_path: Path, bits: int) -> None:
    codec = pytest.importorskip("imagecodecs")
    data = codec.avif_encode(picture(bits=bits), level=100, bitspersample=bits, speed=8, primaries=12, transfer=13)
    (tmp_path / "a.avif").write_bytes(data)
    image = read_image(tmp_path / "a.avif")
    assert image.chunks == (P3,)
    write_image(tmp_path / "b.png", image)
    assert P3[0] + P3[1] in (tmp_path / "b.png").read_bytes()
    write_image(tmp_path / "b.jpg", image)
    assert read_image(tmp_path / "b.jpg").icc == profiles.from_cicp(12, 13)
