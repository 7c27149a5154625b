"""Standard data sets are found as their authors publish them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rebridge.data import IMAGE_LAYOUTS, LAYOUTS, open_images, open_layout

PUBLISHED = [
    ("rain13k", "target/1.jpg", "input/1.jpg"),
    ("rain100h", "norain/norain-3.png", "rain/rain-3.png"),
    ("rain100l", "norain-003.png", "rainy/rain-003.png"),
    ("reside-sots", "gt/1400.png", "hazy/1400_1.png"),
    ("reside-its", "clear/1.png", "hazy/1_2_0.98.png"),
    ("reside-ots", "clear/0005.jpg", "haze/part1/0005_0.8_0.04.jpg"),
    ("snow100k", "gt/beautiful_smile_00003.jpg", "synthetic/beautiful_smile_00003.jpg"),
    ("raindrop", "gt/0_clean.png", "data/0_rain.png"),
    ("lol", "high/2.png", "low/2.png"),
    ("lol", "Normal/normal00001.png", "Low/low00001.png"),
    ("gopro", "GOPR0372_07_00/sharp/000047.png", "GOPR0372_07_00/blur/000047.png"),
    ("hide", "GT/10fromGOPR1.png", "test/test-close-ups/10fromGOPR1.png"),
    ("realblur", "scene001/gt/gt_1.png", "scene001/blur/blur_1.png"),
    ("realblur", "target/1.png", "input/1.png"),
    ("did", "target/1.jpg", "input/1.jpg"),
    ("gt-rain", "Gurutto_0-0/Gurutto_0-0-Webcam-C-000.png", "Gurutto_0-0/Gurutto_0-0-Webcam-R-017.png"),
    ("realrain-1k", "target/1.png", "input/1.png"),
    ("ve-lol-l", "high/normal00690.png", "low/low00690.png"),
    ("csd", "Gt/12.tif", "Snow/12.tif"),
    ("d-hazy", "NYU_GT/1_Image_.bmp", "NYU_Hazy/1_Hazy.bmp"),
    ("nh-haze", "01_GT.png", "01_hazy.png"),
    ("dense-haze", "GT/01_GT.png", "hazy/01_hazy.png"),
    ("poled", "HQ/1.png", "LQ/1.png"),
]


@pytest.mark.parametrize(("name", "clean", "degraded"), PUBLISHED, ids=[case[0] + "/" + case[2] for case in PUBLISHED])
def test_layout_finds_the_pair(draw: Callable[..., Path], tmp_path: Path, name: str, clean: str, degraded: str) -> None:
    expected = [(draw(clean), draw(degraded))]
    assert open_layout(name, tmp_path).pairs == expected


def test_every_layout_is_tested_and_names_a_known_task() -> None:
    assert {case[0] for case in PUBLISHED} == set(LAYOUTS)
    from rebridge import degradations

    assert {layout.task for layout in LAYOUTS.values()} <= set(degradations.names())


def test_many_hazy_images_share_one_clean_image(draw: Callable[..., Path], tmp_path: Path) -> None:
    clean = draw("gt/1400.png")
    for number in range(3):
        draw(f"hazy/1400_{number}.png")
    assert [pair[0] for pair in open_layout("reside-sots", tmp_path).pairs] == [clean] * 3


def test_border_that_hazy_images_lack_is_cut_off_the_clean_one(draw: Callable[..., Path], tmp_path: Path) -> None:
    draw("gt/1.png", 24, 20)
    draw("hazy/1_1.png", 20, 16)
    pairs = open_layout("reside-sots", tmp_path)
    clean, degraded = pairs.read(0)
    assert clean.shape == degraded.shape == (3, 16, 20)


def test_size_mismatch_in_a_layout_names_both_files(draw: Callable[..., Path], tmp_path: Path) -> None:
    draw("high/1.png", 24, 20)
    draw("low/1.png", 20, 16)
    with pytest.raises(ValueError, match=r"high.1\.png \(24x20\) and .*low.1\.png \(20x16\)"):
        open_layout("lol", tmp_path)


def test_missing_clean_image_is_named(draw: Callable[..., Path], tmp_path: Path) -> None:
    draw("high/1.png")
    draw("low/1.png")
    draw("low/2.png")
    with pytest.raises(ValueError, match=r"low.2\.png has no clean image: there is no .*high.2\.\*"):
        open_layout("lol", tmp_path)


def test_folder_that_is_another_data_set_says_what_was_looked_for(draw: Callable[..., Path], tmp_path: Path) -> None:
    draw("pictures/1.png")
    with pytest.raises(ValueError, match=r"does not look like lol: it has no images at low/\*\*/\* or Low/\*\*/\*"):
        open_layout("lol", tmp_path)


def test_unknown_layout_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set layout 'imagenet'; known are rain13k, "):
        open_layout("imagenet", tmp_path)


@pytest.mark.parametrize("path", ["CelebA-HQ-img/0.jpg", "data256x256/00001.jpg", "00001.jpg"])
def test_celeba_hq_images_are_found(draw: Callable[..., Path], tmp_path: Path, path: str) -> None:
    assert open_images("celeba-hq", tmp_path if draw(path) else "").files == [tmp_path / path]


@pytest.mark.parametrize(
    ("name", "path"),
    [("mef", "MEF/A.png"), ("npe", "NPE/1.jpg"), ("nhrw", "1.jpg"), ("snow100k-real", "realistic/winter_00001.jpg")],
)
def test_sets_without_clean_images_are_found(draw: Callable[..., Path], tmp_path: Path, name: str, path: str) -> None:
    draw(path)
    assert open_images(name, tmp_path).files == [tmp_path / path]


def test_every_set_of_the_papers_generalisation_tables_is_known() -> None:
    """DID, CSD, GT-Rain, RealRain-1k, VE-LOL-L, MEF, NPE, Snow100K's real part, D-HAZY, NH-HAZE, Dense-Haze, NHRW, POLED."""
    paired = {"did", "csd", "gt-rain", "realrain-1k", "ve-lol-l", "d-hazy", "nh-haze", "dense-haze", "poled"}
    assert paired <= set(LAYOUTS)
    assert {"mef", "npe", "nhrw", "snow100k-real"} <= set(IMAGE_LAYOUTS)
