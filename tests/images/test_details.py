"""Details that are easily lost when code is moved: rounding, subsampling, thumbnails, profiles, races."""

import io
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import JpegImagePlugin

from rebridge.images import ImageError, read_image, to_samples, write_atomic, write_image
from rebridge.images.raster import scaled
from tests.images.making import as_image, exif, jpeg, picture, read_samples, tiff


@given(st.integers(0, 65535), st.floats(-0.49, 0.49), st.sampled_from([8, 16]))
def test_samples_are_rounded_to_nearest(value: int, offset: float, bits: int) -> None:
    top = 2**bits - 1
    level = min(value, top)
    pixel = torch.tensor((level + offset) / top, dtype=torch.float64).reshape(1, 1, 1)
    if bits == 8:
        assert to_samples(pixel, bits).item() == min(max(level, 0), top)
    else:  # float32 holds a 16-bit level to a few thousandths
        assert abs(to_samples(pixel, bits).item() - level) <= (abs(offset) > 0.48)


@given(st.integers(1, 65535), st.data())
def test_scaling_is_exact_at_both_ends_and_nearest_between(maximum: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, maximum))
    top = 255 if maximum <= 255 else 65535
    dtype = np.uint8 if maximum <= 255 else np.uint16
    found = scaled(np.array([0, value, maximum], dtype), maximum)
    assert found.tolist()[::2] == [0, top]
    assert abs(int(found[1]) - value * top / maximum) <= 0.5


def test_colours_of_a_jpeg_keep_their_resolution(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", as_image(picture()))
    with PILImage.open(tmp_path / "a.jpg") as image:
        assert JpegImagePlugin.get_sampling(image) == 0


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_the_profile_of_cmyk_does_not_stay_with_rgb(tmp_path: Path, suffix: str) -> None:
    profile = bytearray(200)
    profile[16:20], profile[36:40] = b"CMYK", b"acsp"
    PILImage.fromarray(picture()).convert("CMYK").save(tmp_path / f"a{suffix}", icc_profile=bytes(profile))
    image = read_image(tmp_path / f"a{suffix}")
    assert image.mode == "rgb"
    assert image.icc is None


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_resolution_turns_with_the_picture(tmp_path: Path, suffix: str, turn: int) -> None:
    PILImage.fromarray(picture()).save(tmp_path / f"a{suffix}", dpi=(300, 100), exif=exif(turn))
    expected = (300, 100) if turn == 1 else (100, 300)
    assert read_image(tmp_path / f"a{suffix}").dpi == pytest.approx(expected, abs=0.1)


def test_the_thumbnail_of_the_unrestored_picture_is_unlinked(tmp_path: Path) -> None:
    thumbnail = jpeg(picture(8, 8))
    first = struct.pack("<HHHII", 1, 0x112, 3, 1, 1) + struct.pack("<I", 26)
    second = struct.pack("<HHHIIHHII", 2, 0x201, 4, 1, 56, 0x202, 4, 1, len(thumbnail)) + bytes(4)
    block = b"Exif\0\0II*\0\x08\0\0\0" + first + second + thumbnail
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(), [(0xE1, block)]))
    image = read_image(tmp_path / "a.jpg")
    assert image.exif is not None
    (entries,) = struct.unpack_from("<H", image.exif, 6 + 8)
    assert entries == 1
    assert struct.unpack_from("<I", image.exif, 6 + 8 + 2 + 12 * entries) == (0,)


def test_a_file_that_somebody_else_has_just_written_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writer comes between the look at the folder and the publication."""
    real = os.fsync

    def slow(descriptor: int) -> None:
        (tmp_path / "a").write_bytes(b"theirs")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    with pytest.raises(FileExistsError):
        write_atomic(tmp_path / "a", b"ours")
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a"]


def test_of_many_writers_exactly_one_wins(tmp_path: Path) -> None:
    won = []

    def write(number: int) -> None:
        try:
            write_atomic(tmp_path / "a", bytes([number]) * 1000)
            won.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert (tmp_path / "a").read_bytes() == bytes(won) * 1000


def test_pictures_are_read_in_several_threads_at_once(tmp_path: Path) -> None:
    data = jpeg(picture(100, 100))
    (tmp_path / "whole.jpg").write_bytes(data)
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) * 9 // 10])
    expected = read_samples(read_image(tmp_path / "whole.jpg"))
    wrong = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(read_samples(read_image(tmp_path / "whole.jpg")), expected):
                wrong.append("pixels")
            try:
                read_image(tmp_path / "missing.jpg")
                wrong.append("read")
            except ImageError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("bits", [8, 16])
def test_16_bits_are_rounded_and_not_cut_where_a_format_has_8(tmp_path: Path, bits: int) -> None:
    samples = np.full((16, 16), 255 if bits == 16 else 1, np.uint16 if bits == 16 else np.uint8)
    write_image(tmp_path / "a.webp", as_image(samples), quality=100)
    assert read_samples(read_image(tmp_path / "a.webp")).max() == 1


def test_strips_of_one_row_and_odd_sizes_are_read(tmp_path: Path) -> None:
    for height, width in ((1, 1), (1, 50), (3, 700), (7, 5), (2, 2)):
        for bits in (8, 16):
            samples = picture(height, width, bits)
            path = tiff(tmp_path / "a.tif", samples, photometric="rgb", compression="zlib", rowsperstrip=1)
            assert np.array_equal(read_samples(read_image(path)), samples)
            buffer = io.BytesIO()
            PILImage.fromarray(picture(height, width)).save(buffer, "PNG")
            (tmp_path / "a.png").write_bytes(buffer.getvalue())
            assert np.array_equal(read_samples(read_image(tmp_path / "a.png")), picture(height, width))


@pytest.mark.parametrize("suffix", [".avif", ".jpg"])
def test_colours_of_lossy_files_have_the_full_resolution(tmp_path: Path, suffix: str) -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (200, 40, 40), (40, 60, 200)
    write_image(tmp_path / f"a{suffix}", as_image(stripes))
    assert np.abs(read_samples(read_image(tmp_path / f"a{suffix}")) - stripes).max() < 25
