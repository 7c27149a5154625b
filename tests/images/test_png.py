"""PNG.

Transparency, damage, text and size, read and written by our own code around the pixels.
"""

import io
import struct
import time
import timeit
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from rebridge.images import ImageError, ImageWarning, encode_image, png, read_image, write_image
from tests.images.making import as_image, chunked, exif, picture, read_samples, turned, xmp
from tests.images.making import png as png_file


def raw_profile(kind: str, block: bytes) -> tuple[bytes, bytes]:
    """A block in hexadecimal digits, as ImageMagick keeps it."""
    digits = b"\n".join(block.hex()[start : start + 72].encode() for start in range(0, 2 * len(block), 72))
    text = b"\n%s\n%8d\n" % (kind.encode(), len(block)) + digits + b"\n"
    return b"zTXt", b"Raw profile type " + kind.encode() + b"\0\0" + zlib.compress(text)


@pytest.mark.parametrize(("colour", "bits"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)])
def test_a_transparent_colour_becomes_alpha_at_every_depth(tmp_path: Path, colour: int, bits: int) -> None:
    samples = picture(16, 16, bits=min(bits, 8) if bits <= 8 else 16, channels=1 if colour == 0 else 3)
    chosen = samples[0, 0].copy()
    samples[3:6, 4:9] = chosen
    stored = samples
    if bits < 8:
        flags = (samples[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        stored = np.packbits(flags.reshape(16, -1).astype(np.uint8), axis=1)
    content = struct.pack(f">{chosen.size}H", *np.atleast_1d(chosen))
    (tmp_path / "a.png").write_bytes(png_file(stored, colour, bits, [(b"tRNS", content)]))
    found = read_samples(read_image(tmp_path / "a.png"))
    top = 255 if bits <= 8 else 65535
    hidden = (samples.reshape(16, 16, -1) == chosen).all(axis=2)
    assert np.array_equal(found[..., -1], np.where(hidden, 0, top))
    assert np.array_equal(found[..., :-1].squeeze(), samples.astype(int) * top // (2**bits - 1))
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    assert np.array_equal(read_samples(read_image(tmp_path / "b.png")), found)


@settings(max_examples=40, deadline=None)
@given(
    bits=st.sampled_from([8, 16]),
    channels=st.integers(1, 4),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_other_readers_see_the_samples_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, bits: int, channels: int, height: int, width: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("png") / "a.png"
    samples = np.random.default_rng(seed).integers(0, 2**bits, (height, width, channels)).astype(f"u{bits // 8}")
    write_image(path, as_image(samples))
    assert np.array_equal(read_samples(read_image(path)), samples)
    seen = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)).reshape(height, width, -1)
    order = {1: [0], 2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    assert np.array_equal(seen, samples[..., order])
    if bits == 8:
        assert np.array_equal(np.asarray(PILImage.open(path)).reshape(samples.shape), samples)
    assert path.read_bytes()[24:26] == bytes([bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels]])


def test_rows_longer_than_libpng_takes_are_written(tmp_path: Path) -> None:
    samples = np.zeros((1, 1_000_001, 3), np.uint8)
    samples[0, ::7] = 200
    write_image(tmp_path / "a.png", as_image(samples))
    assert np.array_equal(read_samples(read_image(tmp_path / "a.png")), samples)


def test_png_is_hardly_larger_than_pillow_makes_it_and_faster_than_opencv(tmp_path: Path) -> None:
    samples = picture(600, 800)
    image = as_image(samples)
    PILImage.fromarray(samples).save(tmp_path / "pillow.png")
    assert len(encode_image(image, ".png")) <= 1.08 * (tmp_path / "pillow.png").stat().st_size
    options = [cv2.IMWRITE_PNG_COMPRESSION, 6]
    ours, theirs = (
        min(timeit.repeat(call, time.process_time, number=1, repeat=3))
        for call in (lambda: encode_image(image, ".png"), lambda: cv2.imencode(".png", samples, options))
    )
    assert ours < theirs


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("kind", ["exif", "APP1"])
def test_exif_in_old_text_is_read_and_its_orientation_applied_once(tmp_path: Path, kind: str, suffix: str) -> None:
    block = exif(6)
    (tmp_path / "a.png").write_bytes(png_file(picture(), 2, 8, [raw_profile(kind, block)]))
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(read_samples(image), turned(picture(), 6))
    write_image(tmp_path / f"b{suffix}", image)
    again = PILImage.open(tmp_path / f"b{suffix}")
    assert again.size == (24, 32)
    assert again.getexif()[0x10F] == "Maker"
    assert again.getexif().get(0x112, 1) == 1
    assert b"Raw profile type" not in (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("is_packed", [False, True])
def test_orientation_in_the_xmp_of_a_png_is_applied(tmp_path: Path, is_packed: bool) -> None:
    text = zlib.compress(xmp(8)) if is_packed else xmp(8)
    chunk = (b"iTXt", b"XML:com.adobe.xmp\0" + bytes([is_packed, 0]) + b"\0\0" + text)
    (tmp_path / "a.png").write_bytes(png_file(picture(), 2, 8, [chunk]))
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(read_samples(image), turned(picture(), 8))
    assert image.xmp == xmp(1)


def test_a_wrong_checksum_in_a_text_costs_the_text_and_not_the_picture(tmp_path: Path) -> None:
    data = png_file(picture(), 2, 8, [(b"tEXt", b"Comment\0hello")])
    place = data.find(b"hello") + 5
    (tmp_path / "a.png").write_bytes(data[:place] + b"\0\0\0\0" + data[place + 4 :])
    with pytest.raises(ImageError, match="tEXt chunk is damaged"):
        read_image(tmp_path / "a.png", strict=True)
    with pytest.warns(ImageWarning, match="tEXt chunk is damaged"):
        image = read_image(tmp_path / "a.png")
    assert np.array_equal(read_samples(image), picture())
    assert image.chunks == ()


@pytest.mark.parametrize(("colour", "bits"), [(0, 8), (0, 16), (2, 8), (2, 16), (6, 16)])
def test_a_png_without_its_end_is_whole(tmp_path: Path, colour: int, bits: int) -> None:
    samples = picture(bits=bits, channels={0: 1, 2: 3, 6: 4}[colour])
    (tmp_path / "a.png").write_bytes(png_file(samples, colour, bits)[:-12])
    with pytest.warns(ImageWarning, match="cut short"):
        image = read_image(tmp_path / "a.png")
    assert np.array_equal(read_samples(image).squeeze(), samples)
    assert len(image.notes) == 1


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.05, 0.99), bits=st.sampled_from([8, 16]), is_interlaced=st.booleans())
def test_a_cut_png_keeps_every_row_that_the_file_still_holds(
    tmp_path_factory: pytest.TempPathFactory, share: float, bits: int, is_interlaced: bool
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.png"
    samples = np.random.default_rng(0).integers(0, 2**bits, (60, 50, 3)).astype(f"u{bits // 8}")
    if is_interlaced and bits == 8:
        buffer = io.BytesIO()
        PILImage.fromarray(samples).save(buffer, "PNG", interlace=1)
        data = buffer.getvalue()
    else:
        is_interlaced = False
        data = png_file(samples, 2, bits)
    path.write_bytes(data[: int(share * len(data))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_samples(read_image(path))
    good = int((found == samples).all(axis=(1, 2)).sum())
    if not is_interlaced:
        assert good >= int(60 * share) - 4
        assert (found[good + 1 :] == 0).all()


def test_a_flipped_bit_is_said_and_costs_only_what_follows(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
    data = bytearray(png_file(samples, 2, 8))
    data[len(data) * 3 // 4] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match="IDAT chunk is damaged"):
        read_image(tmp_path / "a.png", strict=True)
    with pytest.warns(ImageWarning, match="IDAT chunk is damaged"):
        found = read_samples(read_image(tmp_path / "a.png"))
    assert (found == samples).all(axis=(1, 2)).sum() >= 70


def test_metadata_that_unpacks_to_gigabytes_is_left_packed(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    chunks = [
        (b"iCCP", b"p\0\0" + bomb),
        (b"zTXt", b"Raw profile type exif\0\0" + bomb),
        (b"zTXt", b"Comment\0\0" + bomb),
    ]
    (tmp_path / "a.png").write_bytes(png_file(picture(), 2, 8, chunks))
    began = time.perf_counter()
    image = read_image(tmp_path / "a.png")
    assert time.perf_counter() - began < 3
    assert image.icc is None
    assert image.exif is None
    assert np.array_equal(read_samples(image), picture())


def test_an_animated_png_is_refused(tmp_path: Path) -> None:
    frames = [PILImage.fromarray(picture()), PILImage.fromarray(255 - picture())]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="animation"):
        read_image(tmp_path / "a.png")


def test_all_chunks_that_are_kept_are_written_once(tmp_path: Path) -> None:
    kept = [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"tEXt", b"Comment\0hello"),
        (b"tIME", struct.pack(">H5B", 2020, 1, 2, 3, 4, 5)),
    ]
    (tmp_path / "a.png").write_bytes(png_file(picture(), 2, 8, kept))
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    chunks, notes = png.scan((tmp_path / "b.png").read_bytes())
    assert notes == []
    for name, content in kept:
        assert [c for n, c in chunks if n == name] == [content]


def test_a_header_that_makes_no_sense_is_one_sentence(tmp_path: Path) -> None:
    for header in (struct.pack(">IIBBBBB", 4, 4, 3, 2, 0, 0, 0), struct.pack(">IIBBBBB", 0, 4, 8, 2, 0, 0, 0), b"ab"):
        (tmp_path / "a.png").write_bytes(chunked([(b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]))
        with pytest.raises(ImageError, match=r"a\.png"):
            read_image(tmp_path / "a.png")


def test_grey_with_alpha_stays_grey_with_alpha_of_16_bits(tmp_path: Path) -> None:
    samples = picture(bits=16, channels=4)[..., 2:]
    write_image(tmp_path / "a.png", as_image(samples))
    image = read_image(tmp_path / "a.png")
    assert image.mode == "grey"
    expected = as_image(samples).alpha
    assert image.alpha is not None
    assert expected is not None
    assert torch.equal(image.alpha, expected)


def test_without_isal_the_same_pixels_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = as_image(picture(bits=8, channels=3))
    files = [encode_image(pixels, ".png")]
    monkeypatch.setattr("rebridge.images.png_write.fast", zlib)
    files.append(encode_image(pixels, ".png"))
    first, second = (np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)) for file in files)
    assert first.shape == (*pixels.pixels.shape[1:], 3)
    assert np.array_equal(first, second)


def test_bands_of_rows_are_written_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = as_image(picture(61, 40))
    whole = encode_image(pixels, ".png")
    monkeypatch.setattr("rebridge.images.png_write._BAND", 7 * 3 * 40)
    assert encode_image(pixels, ".png") == whole


@pytest.mark.parametrize("kind", ["photograph", "drawing", "ramp", "texture"])
def test_the_way_to_compress_is_as_good_as_the_better_one(kind: str) -> None:
    rows, columns = np.mgrid[0:320, 0:400]
    generator = np.random.default_rng(0)
    samples = {
        "photograph": 127 + 90 * np.sin(rows / 37) * np.cos(columns / 29) + generator.normal(0, 4, rows.shape),
        "drawing": 255.0 * ((rows // 40 + columns // 50) % 2) * (np.hypot(rows - 160, columns - 200) > 90),
        "ramp": 255.0 * columns / 400,
        "texture": np.tile(generator.uniform(0, 255, (32, 40)), (10, 10)),
    }[kind].clip(0, 255)
    colours = np.ascontiguousarray(samples.astype(np.uint8)[..., None].repeat(3, axis=2))
    sizes = {
        strategy: len(
            cv2.imencode(".png", colours, [cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_STRATEGY, strategy])[1]
        )
        for strategy in (cv2.IMWRITE_PNG_STRATEGY_DEFAULT, cv2.IMWRITE_PNG_STRATEGY_RLE)
    }
    written = encode_image(as_image(colours), ".png")
    assert len(written) <= 1.05 * min(sizes.values()) + 1600
