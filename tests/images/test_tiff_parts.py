"""TIFF pictures are read in parts and written in rows with the samples that the whole has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from rebridge.images import read_image
from rebridge.images.tiff_parts import opened_in_parts, write_in_rows

LAYOUTS: list[tuple[int, int, dict[str, Any]]] = [
    (8, 3, {"compression": "zlib", "predictor": True, "tile": (64, 48)}),
    (16, 1, {"compression": "zlib", "rowsperstrip": 17}),
    (16, 3, {"tile": (32, 32)}),
    (8, 3, {}),
]


def saved(path: Path, bits: int, channels: int, **layout: Any) -> np.ndarray:
    samples = np.random.default_rng(0).integers(0, 2**bits, (130, 201, channels)).astype(f"u{bits // 8}")
    photometric = "rgb" if channels > 1 else "minisblack"
    whole = samples if channels > 1 else samples[..., 0]
    tifffile.imwrite(path, whole, photometric=photometric, resolution=(300, 300), iccprofile=b"profile", **layout)
    return samples


@pytest.mark.parametrize(("bits", "channels", "layout"), LAYOUTS)
def test_parts_and_rows_are_those_of_the_whole(
    bits: int, channels: int, layout: dict[str, Any], tmp_path: Path
) -> None:
    samples = saved(tmp_path / "in.tif", bits, channels, **layout)
    with opened_in_parts(tmp_path / "in.tif", 1) as parts:
        assert parts is not None
        for rows, columns in ((slice(0, 130), slice(0, 201)), (slice(33, 99), slice(50, 151)), (slice(129, 130),) * 2):
            assert np.array_equal(parts.read(rows, columns), samples[rows, columns])
        rows_of_37 = (samples[first : first + 37] for first in range(0, 130, 37))
        write_in_rows(tmp_path / "out.tif", rows_of_37, parts.shape, bits, parts.described)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        page: Any = tiff.pages[0]
        assert tiff.is_bigtiff
        assert page.is_tiled
        assert np.array_equal(page.asarray().reshape(samples.shape), samples)
        assert page.iccprofile == b"profile"
        assert page.get_resolution("INCH") == (300, 300)


def test_small_turned_and_transparent_pictures_and_other_files_are_not_opened(tmp_path: Path) -> None:
    saved(tmp_path / "small.tif", 8, 3)
    saved(tmp_path / "turned.tif", 8, 3, extratags=[(274, "H", 1, 6, True)])
    tifffile.imwrite(tmp_path / "alpha.tif", np.zeros((130, 201, 4), np.uint8), photometric="rgb")
    (tmp_path / "text.tif").write_text("no picture")
    for name, least in (("small", 10**6), ("turned", 1), ("alpha", 1), ("text", 1), ("missing", 1)):
        with opened_in_parts(tmp_path / f"{name}.tif", least) as parts:
            assert parts is None


def test_a_damaged_tile_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    saved(tmp_path / "in.tif", 8, 3, compression="zlib", tile=(64, 64))
    with tifffile.TiffFile(tmp_path / "in.tif") as tiff:
        page: Any = tiff.pages[0]
        place = page.dataoffsets[5]
    data = bytearray((tmp_path / "in.tif").read_bytes())
    data[place : place + 40] = bytes(40)
    (tmp_path / "in.tif").write_bytes(data)
    with opened_in_parts(tmp_path / "in.tif", 1) as parts:
        assert parts is not None
        bands = (parts.read(slice(top, min(top + 64, 130)), slice(0, 201)) for top in range(0, 130, 64))
        with pytest.raises(ValueError, match="damaged"):
            write_in_rows(tmp_path / "out.tif", bands, parts.shape, 8, parts.described)
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_the_file_that_is_written_is_read_as_any_other(tmp_path: Path) -> None:
    samples = saved(tmp_path / "in.tif", 16, 3)
    with opened_in_parts(tmp_path / "in.tif", 1) as parts:
        assert parts is not None
        write_in_rows(tmp_path / "out.tif", [samples], parts.shape, 16, parts.described)
    image = read_image(tmp_path / "out.tif")
    assert image.bits == 16
    assert np.array_equal((image.pixels.numpy() * 65535).round().astype(np.uint16).transpose(1, 2, 0), samples)
