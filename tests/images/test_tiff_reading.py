"""TIFF.

Every layout gives the same picture, turned once, with all its bits and channels.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from rebridge.images import ImageError, ImageWarning, read_image, tiff_samples, write_image
from tests.images.making import hand_tiff, packed, picture, read_samples, tiff, turned


def lzw16(path: Path, samples: np.ndarray, orientation: int = 1) -> Path:
    """16 bits in LZW strips of 5 rows, without the tags that a file may leave out."""
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    strips = [lzw(samples[top : top + 5].astype("<u2").tobytes()) for top in range(0, len(samples), 5)]
    tags: dict[int, int | tuple[int, ...]] = {256: samples.shape[1], 257: len(samples), 258: (16,) * channels, 259: 5}
    tags |= {262: 1 if channels == 1 else 2, 274: orientation, 277: channels, 278: 5}
    tags |= {338: 2} if channels == 4 else {}
    path.write_bytes(hand_tiff(strips, tags))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tiff_is_turned_upright_exactly_once(
    tmp_path: Path, channels: int, compression: str | None, bits: int, orientation: int
) -> None:
    samples = picture(bits=bits, channels=channels)
    path = tmp_path / "a.tif"
    if compression == "lzw" and bits == 16:
        lzw16(path, samples, orientation)
    elif compression == "lzw" and channels != 4:
        PILImage.fromarray(samples).save(path, compression="tiff_lzw", tiffinfo={274: orientation})
    elif compression != "lzw":
        options = {"photometric": "minisblack"} if channels == 1 else {"photometric": "rgb"}
        options |= {"extrasamples": ["unassalpha"]} if channels == 4 else {}  # type: ignore[dict-item]
        tiff(path, samples, compression=compression, extratags=[(274, "H", 1, orientation, True)], **options)
    else:
        return  # Pillow does not write it
    image = read_image(path)
    assert np.array_equal(read_samples(image).squeeze(), turned(samples, orientation))
    write_image(tmp_path / "b.tif", image)
    assert np.array_equal(read_samples(read_image(tmp_path / "b.tif")).squeeze(), turned(samples, orientation))


def test_resolution_is_exchanged_with_the_sides(tmp_path: Path) -> None:
    for bits in (8, 16):
        samples = picture(bits=bits)
        path = tiff(
            tmp_path / f"{bits}.tif",
            samples,
            photometric="rgb",
            resolution=(300, 150),
            resolutionunit="INCH",
            extratags=[(274, "H", 1, 6, True)],
        )
        assert read_image(path).dpi == (150, 300)


@pytest.mark.parametrize("samples", [picture(bits=16), picture(bits=16, channels=1)])
def test_16_bit_lzw_without_planar_configuration_is_read(tmp_path: Path, samples: np.ndarray) -> None:
    path = lzw16(tmp_path / "a.tif", samples)
    assert np.array_equal(read_samples(read_image(path)).squeeze(), samples)


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from([1, 2, 3, 4, 6, 8, 9, 10, 12, 14, 16]),
    channels=st.sampled_from([1, 3]),
    is_planar=st.booleans(),
    order=st.sampled_from(["<", ">"]),
    rows=st.integers(1, 9),
    compression=st.sampled_from([1, 8, 5, 32773]),
    is_tiled=st.booleans(),
)
def test_every_depth_layout_and_byte_order_gives_the_same_samples(
    tmp_path_factory: pytest.TempPathFactory,
    bits: int,
    channels: int,
    is_planar: bool,
    order: str,
    rows: int,
    compression: int,
    is_tiled: bool,
) -> None:
    height, width = 7, 11
    samples = np.random.default_rng(bits).integers(0, 2**bits, (height, width, channels))
    planes = [samples[..., [c]] for c in range(channels)] if is_planar else [samples]
    segments = []
    tags: dict[int, int | tuple[int, ...]] = {256: width, 257: height, 258: (bits,) * channels, 259: compression}
    tags |= {262: 1 if channels == 1 else 2, 277: channels, 284: 2 if is_planar else 1}
    if is_tiled:
        rows = 4
        tags |= {322: 16, 323: 4}
        tags[324] = tags[325] = 0
    else:
        tags[278] = rows
    for plane in planes:
        for top in range(0, height, rows):
            part = plane[top : top + rows]
            if is_tiled:
                part = np.pad(part, ((0, 4 - len(part)), (0, 16 - width), (0, 0)))
            raw = part.astype(order + "u2").tobytes() if bits == 16 else packed(part, bits)
            segments.append(compressed(raw, compression, part, bits))
    data = hand_tiff(segments, tags, order)
    if is_tiled:
        data = as_tiles(data, order)
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    path.write_bytes(data)
    image = read_image(path)
    top = 255 if bits <= 8 else 65535
    assert image.bits == (8 if bits <= 8 else 16)
    assert np.array_equal(read_samples(image), (samples * top * 2 + 2**bits - 1) // (2 * (2**bits - 1)))


def compressed(raw: bytes, compression: int, part: np.ndarray, bits: int) -> bytes:
    """One segment in a compression that needs no other package."""
    import zlib

    if compression == 8:
        return zlib.compress(raw)
    if compression == 32773:
        return b"".join(
            bytes([len(raw[start : start + 100]) - 1]) + raw[start : start + 100] for start in range(0, len(raw), 100)
        )
    if compression == 5:
        return lzw(raw)
    return raw


def lzw(raw: bytes) -> bytes:
    """TIFF's LZW without any matches.

    A clear code comes now and then, so that codes stay 9 bits wide.
    """
    codes = []
    for start in range(0, len(raw), 200):
        codes += [256, *raw[start : start + 200]]
    flags = "".join(f"{code:09b}" for code in [*codes, 257])
    flags += "0" * (-len(flags) % 8)
    return bytes(int(flags[start : start + 8], 2) for start in range(0, len(flags), 8))


def as_tiles(data: bytes, order: str) -> bytes:
    """Rename the tags of strips to those of tiles."""
    block = bytearray(data)
    (start,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    entries = [bytes(block[start + 2 + 12 * i : start + 14 + 12 * i]) for i in range(count)]
    said = {struct.unpack_from(order + "H", entry)[0]: entry for entry in entries}
    said[324] = struct.pack(order + "H", 324) + said.pop(273)[2:]
    said[325] = struct.pack(order + "H", 325) + said.pop(279)[2:]
    ordered = b"".join(said[tag] for tag in sorted(said))
    struct.pack_into(order + "H", block, start, len(said))
    block[start + 2 : start + 2 + 12 * count] = ordered + bytes(12 * (count - len(said)))
    return bytes(block)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("has_prediction", [False, True])
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_16_bits_are_the_same_in_every_compression(
    tmp_path: Path, compression: str, has_prediction: bool, planarconfig: str, tile: tuple[int, int] | None
) -> None:
    pytest.importorskip("imagecodecs")
    samples = picture(40, 50, bits=16)
    stored = samples if planarconfig == "contig" else np.moveaxis(samples, -1, 0)
    options = {
        "planarconfig": planarconfig,
        "compression": compression,
        "tile": tile,
        "rowsperstrip": None if tile else 7,
    }
    path = tiff(
        tmp_path / "a.tif", stored, photometric="rgb", predictor=has_prediction and compression != "packbits", **options
    )
    assert np.array_equal(read_samples(read_image(path)), samples)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_bigtiff_is_read_with_its_tags(tmp_path: Path, bits: int, byteorder: str) -> None:
    samples = picture(bits=bits)
    path = tiff(
        tmp_path / "a.tif",
        samples,
        photometric="rgb",
        bigtiff=True,
        byteorder=byteorder,
        extratags=[(274, "H", 1, 6, True), (271, "s", 0, "Maker", True)],
    )
    image = read_image(path)
    assert np.array_equal(read_samples(image), turned(samples, 6))
    write_image(tmp_path / "b.jpg", image)
    assert PILImage.open(tmp_path / "b.jpg").getexif()[271] == "Maker"


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("place", ["first", "last", "both"])
def test_reduced_pages_are_not_the_picture(tmp_path: Path, bits: int, place: str) -> None:
    samples = picture(bits=bits)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        if place in ("first", "both"):
            file.write(samples[::4, ::4].copy(), photometric="rgb", subfiletype=1, metadata=None)
        file.write(samples, photometric="rgb", metadata=None)
        if place in ("last", "both"):
            file.write(samples[::2, ::2].copy(), photometric="rgb", subfiletype=1, metadata=None)
    assert np.array_equal(read_samples(read_image(tmp_path / "a.tif")), samples)


def test_a_picture_below_a_reduced_page_is_found(tmp_path: Path) -> None:
    samples = picture(bits=16)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(samples[::4, ::4].copy(), photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        file.write(samples, photometric="rgb", metadata=None)
    assert np.array_equal(read_samples(read_image(tmp_path / "a.tif")), samples)


def test_a_mask_page_is_named_and_the_picture_read(tmp_path: Path) -> None:
    samples = picture()
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(samples, photometric="rgb", metadata=None)
        file.write(samples[..., 0] > 99, subfiletype=4, photometric=4, metadata=None)
    with pytest.warns(ImageWarning, match="mask page"):
        image = read_image(tmp_path / "a.tif")
    assert np.array_equal(read_samples(image), samples)


@pytest.mark.parametrize(("bits", "compression"), [(1, 1), (8, 1), (12, 1), (16, 1), (16, 8), (16, 5), (16, 32773)])
def test_bits_in_reversed_order_are_put_right(tmp_path: Path, bits: int, compression: int) -> None:
    samples = picture(24, 32, bits, 1)
    raw = samples.astype("<u2").tobytes() if bits == 16 else packed(samples, bits)
    reverse = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    stored = compressed(raw, compression, samples, bits).translate(reverse)
    tags: dict[int, int | tuple[int, ...]] = {
        256: 32,
        257: 24,
        258: bits,
        259: compression,
        262: 1,
        266: 2,
        277: 1,
        278: 24,
    }
    (tmp_path / "a.tif").write_bytes(hand_tiff([stored], tags))
    found = read_samples(read_image(tmp_path / "a.tif")).squeeze()
    top = 255 if bits <= 8 else 65535
    assert np.array_equal(found, (samples.astype(int) * top * 2 + 2**bits - 1) // (2 * (2**bits - 1)))


@pytest.mark.parametrize("tag", [(255, 2), (262, 4)])
def test_old_ways_to_mark_thumbnails_and_masks_are_understood(tmp_path: Path, tag: tuple[int, int]) -> None:
    """Two directories by hand: the first is no picture, by the tag in question alone."""
    samples = picture(24, 32, channels=1)
    tags: dict[int, int | tuple[int, ...]] = {256: 32, 257: 24, 258: 8, 259: 1, 262: 1, 277: 1, 278: 24}
    second = hand_tiff([samples.tobytes()], tags)
    other = {**tags, 256: 16, 257: 12, 278: 12, tag[0]: tag[1]}
    first = bytearray(hand_tiff([bytes(192)], other))
    (start,) = struct.unpack_from("<I", first, 4)
    shift = len(first) + len(first) % 2
    moved = bytearray(second)
    (place,) = struct.unpack_from("<I", moved, 4)
    for index in range(len(tags) + 2):
        entry = place + 2 + 12 * index
        if struct.unpack_from("<H", moved, entry)[0] == 273:
            struct.pack_into("<I", moved, entry + 8, struct.unpack_from("<I", moved, entry + 8)[0] + shift)
    struct.pack_into("<I", first, start + 2 + 12 * (len(other) + 2), place + shift)
    (tmp_path / "a.tif").write_bytes(bytes(first.ljust(shift, b"\0")) + bytes(moved))
    found = read_samples(read_image(tmp_path / "a.tif")).squeeze()
    assert np.array_equal(found, samples)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_profile_of_deep_cmyk_is_used_up_or_asked_for(tmp_path: Path) -> None:
    profile = bytearray(200)
    profile[16:20], profile[36:40] = b"RGB ", b"acsp"  # of another space: the plain formula is used
    ink = picture(bits=16, channels=4)
    path = tiff(tmp_path / "a.tif", ink, photometric="separated", iccprofile=bytes(profile))
    assert read_image(path).icc is None


def test_two_pictures_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for _ in range(2):
            file.write(picture(bits=16), photometric="rgb", metadata=None)
    with pytest.raises(ImageError, match="2 pages"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["unspecified", "unassalpha", "assocalpha"])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_a_channel_beyond_the_colours_is_alpha(
    tmp_path: Path, planarconfig: str, channels: int, kind: str, bits: int
) -> None:
    samples = picture(bits=bits, channels=4)[..., 4 - channels :]
    alpha = samples[..., -1].copy()
    alpha[:5] = 0
    alpha[5:10] = 2**bits - 1
    samples = np.dstack([samples[..., :-1], alpha])
    stored = samples.copy()
    if kind == "assocalpha":
        stored[..., :-1] = (samples[..., :-1].astype(float) * alpha[..., None] / (2**bits - 1)).round()
    path = tiff(
        tmp_path / "a.tif",
        stored if planarconfig == "contig" else np.ascontiguousarray(np.moveaxis(stored, -1, 0)),
        photometric="rgb" if channels == 4 else "minisblack",
        planarconfig=planarconfig,
        extrasamples=[kind],
    )
    found = read_samples(read_image(path))
    assert np.array_equal(found[..., -1], alpha)
    assert np.abs(found[..., :-1] - samples[..., :-1])[alpha > 0].max() <= (4 if kind == "assocalpha" else 0)


def test_channels_that_are_neither_colour_nor_alpha_are_named(tmp_path: Path) -> None:
    samples = np.dstack([picture(bits=16), picture(bits=16)])
    path = tiff(
        tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["unspecified", "unassalpha", "unspecified"]
    )
    with pytest.warns(ImageWarning, match="2 of its channels"):
        image = read_image(path)
    assert np.array_equal(read_samples(image), samples[..., [0, 1, 2, 4]])


def test_cmyk_of_16_bits_is_converted_with_all_its_bits(tmp_path: Path) -> None:
    ink = picture(bits=16, channels=4)
    ink[..., 3] //= 2
    found = read_samples(read_image(tiff(tmp_path / "a.tif", ink, photometric="separated")))
    whole = 65535 - ink.astype(np.int64)
    assert np.abs(found - np.rint(whole[..., :3] * whole[..., 3:] / 65535)).max() <= 1
    assert len(np.unique(found)) > 256
    eight = tiff(tmp_path / "b.tif", (ink >> 8).astype(np.uint8), photometric="separated")
    assert np.abs(read_samples(read_image(eight)) * 257 - found).max() < 1200


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint32, np.int16, np.int8])
def test_samples_that_would_be_cut_are_refused(tmp_path: Path, dtype: type) -> None:
    path = tiff(tmp_path / "a.tif", picture().astype(dtype), photometric="rgb")
    with pytest.raises(ImageError, match="8 and 16 bits can be read"):
        read_image(path)


@pytest.mark.parametrize(
    ("compression", "rows"),
    [*((name, rows) for name in ("none", "zlib", "lzw", "packbits", "lzma") for rows in (4, 64)), ("zstd", 4)],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_that_was_cut_is_read_as_far_as_it_goes(tmp_path: Path, compression: str, bits: int, rows: int) -> None:
    if compression in ("lzw", "packbits", "zstd"):
        pytest.importorskip("imagecodecs")
    samples = picture(64, 64, bits=bits)
    path = tiff(tmp_path / "a.tif", samples, photometric="rgb", compression=compression, rowsperstrip=rows)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    with pytest.raises(ImageError):
        read_image(path, strict=True)
    with pytest.warns(ImageWarning, match="segments of the picture cannot be read"):
        found = read_samples(read_image(path))
    good = int((found == samples).all(axis=(1, 2)).sum())
    assert good >= 36
    assert (found[good + 4 :] == 0).all()


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", None])
def test_an_8_bit_tiff_with_damaged_strips_is_read_too(tmp_path: Path, compression: str | None) -> None:
    samples = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    path = tmp_path / "a.tif"
    PILImage.fromarray(samples).save(path, compression=compression, tiffinfo={278: 20})
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        offset, length = page.dataoffsets[3], page.databytecounts[3]
    if compression is None:
        return
    data = bytearray(path.read_bytes())
    data[offset + 2 : offset + length] = b"\xff" * (length - 2)
    path.write_bytes(data)
    with pytest.warns(ImageWarning, match="cannot be read"):
        found = read_samples(read_image(path))
    assert (found == samples).all(axis=(1, 2)).sum() >= 0.8 * len(samples)


def test_the_compressions_that_are_read_need_no_extra_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = picture(bits=16)
    lzw16(tmp_path / "a.tif", samples)
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs", None)
    assert np.array_equal(read_samples(read_image(tmp_path / "a.tif")), samples)
    assert 5 in tiff_samples.COMPRESSIONS
