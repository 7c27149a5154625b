"""Folders of images and of pairs: what is found, what is in it, and errors that name the files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rebridge.data import ImageFolder, PairedFolder, PairedSource
from rebridge.data.crops import centre_crop, dihedral, reflect_to
from rebridge.data.seeds import generator_of


def test_folder_finds_images_in_order_and_leaves_other_files_out(draw: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.webp", ".hidden.png"):
        draw(name)
    (tmp_path / "notes.txt").write_text("no image")
    assert [path.name for path in ImageFolder(tmp_path).files] == ["a.JPG", "b.png", "c.webp"]
    assert len(ImageFolder(tmp_path, recursive=False)) == 2


def test_images_are_the_pixels_of_the_files_whether_loaded_or_not(draw: Callable[..., Path], tmp_path: Path) -> None:
    path = draw("a.png")
    expected = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) / 255
    folder = ImageFolder(tmp_path)
    assert torch.equal(folder[0], expected)
    assert torch.equal(folder.load()[0], expected)
    assert folder.held_bytes == 3 * 20 * 24


def test_grey_images_get_three_channels(draw: Callable[..., Path], tmp_path: Path) -> None:
    draw("a.png", mode="L")
    image = ImageFolder(tmp_path)[0]
    assert image.shape == (3, 20, 24)
    assert torch.equal(image[0], image[2])


def test_sixteen_bit_images_keep_their_depth(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 12345, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert float(ImageFolder(tmp_path).load()[0][0, 0, 0]) == pytest.approx(12345 / 65535, abs=1e-7)


def test_memory_limit_is_kept(draw: Callable[..., Path], tmp_path: Path) -> None:
    for number in range(5):
        draw(f"{number}.png")
    size = 3 * 20 * 24
    assert ImageFolder(tmp_path).load(2 * size).held_bytes == 2 * size


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_folder_without_images_is_an_error_that_names_it(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=folder):
        ImageFolder(tmp_path / folder)


def test_pairs_match_by_name_whatever_the_suffix(draw: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("clean/a.png", "clean/s/b.png", "rainy/s/b.jpg", "rainy/a.jpg"):
        draw(name)
    pairs = PairedFolder(tmp_path / "clean", tmp_path / "rainy")
    assert [(clean.name, degraded.name) for clean, degraded in pairs.pairs] == [("a.png", "a.jpg"), ("b.png", "b.jpg")]
    assert pairs.read(0)[0].shape == pairs.read(0)[1].shape == (3, 20, 24)


def test_size_mismatch_names_both_files_and_sizes(draw: Callable[..., Path], tmp_path: Path) -> None:
    clean, degraded = draw("clean/a.png"), draw("rainy/a.png", 25, 20)
    with pytest.raises(ValueError, match="differ in size") as caught:
        PairedFolder(tmp_path / "clean", tmp_path / "rainy")
    assert f"{clean} (24x20) and {degraded} (25x20)" in str(caught.value)


def test_sizes_are_compared_as_displayed(draw: Callable[..., Path], tmp_path: Path) -> None:
    draw("clean/a.png", 24, 20)
    rotated = draw("rainy/a.jpg", 20, 24)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(rotated).save(rotated, exif=exif)
    assert PairedFolder(tmp_path / "clean", tmp_path / "rainy").read(0)[1].shape == (3, 20, 24)


@pytest.mark.parametrize(
    ("extra", "sentence"), [("clean/b.png", "no degraded image"), ("rainy/b.png", "no clean image")]
)
def test_image_without_partner_is_named(draw: Callable[..., Path], tmp_path: Path, extra: str, sentence: str) -> None:
    for name in ("clean/a.png", "rainy/a.png"):
        draw(name)
    lonely = draw(extra)
    with pytest.raises(ValueError, match=sentence) as caught:
        PairedFolder(tmp_path / "clean", tmp_path / "rainy")
    assert str(lonely) in str(caught.value)


def test_two_files_of_one_name_are_an_error_that_names_both(draw: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("clean/a.png", "clean/a.jpg", "rainy/a.png"):
        draw(name)
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png have the same name"):
        PairedFolder(tmp_path / "clean", tmp_path / "rainy")


def test_paired_crops_come_from_the_same_place(draw: Callable[..., Path], tmp_path: Path) -> None:
    for number in range(3):
        path = draw(f"clean/{number}.png")
        (tmp_path / "rainy").mkdir(exist_ok=True)
        (tmp_path / "rainy" / path.name).write_bytes(path.read_bytes())
    source = PairedSource(PairedFolder(tmp_path / "clean", tmp_path / "rainy"), "rain")
    for number in range(20):
        pair = source.draw(9, generator_of(number))
        assert pair.clean.shape == (3, 9, 9)
        assert torch.equal(pair.clean, pair.degraded)


def test_reflection_continues_an_image_without_a_jump() -> None:
    row = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    assert reflect_to(row, 1, 11).tolist() == [[0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]]
    assert reflect_to(torch.ones(3, 1, 1), 4, 5).shape == (3, 4, 5)
    assert reflect_to(row, 1, 2) is row


def test_the_eight_orientations_differ_and_keep_every_pixel() -> None:
    image = torch.arange(9.0).reshape(1, 3, 3)
    turned = {tuple(dihedral(image, symmetry).flatten().tolist()) for symmetry in range(8)}
    assert len(turned) == 8
    assert {tuple(sorted(pixels)) for pixels in turned} == {tuple(range(9))}


def test_centre_crop_is_the_middle() -> None:
    image = torch.zeros(1, 30, 20)
    image[0, 11:19, 6:14] = 1
    assert centre_crop(image, 8).min() == 1
    assert centre_crop(image, 100).shape == (1, 24, 16)


@pytest.mark.parametrize(("down", "across"), [(0, 0), (10, 16), (6, 0), (0, 2)])
def test_the_border_that_a_degraded_image_lacks_is_cut_evenly(
    draw: Callable[..., Path], tmp_path: Path, down: int, across: int
) -> None:
    clean = draw("clean.png", width=40, height=30)
    pixels = np.asarray(Image.open(clean))
    inner = pixels[down // 2 : 30 - down // 2, across // 2 : 40 - across // 2]
    Image.fromarray(inner).save(tmp_path / "degraded.png")
    pair = PairedFolder.of([(clean, tmp_path / "degraded.png")], crop_clean=True).read(0)
    assert torch.equal(*pair)
    assert pair[0].shape == (3, 30 - down, 40 - across)
