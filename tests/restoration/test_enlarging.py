"""Enlarging: never below bicubic, and consistent with what was enlarged."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rebridge.degradations.resampling import enlarge, shrink
from rebridge.images import Image, read_image
from rebridge.restoration.enlarging import consistent, enlarge_image, resample

PHOTOS = sorted((Path(__file__).parents[2] / "examples" / "images").glob("*.jpg"))


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a.clamp(0, 1) - b).square().mean()))


@pytest.mark.parametrize("by", [2, 3, 4])
@pytest.mark.parametrize("photo", PHOTOS, ids=lambda path: path.stem)
def test_the_result_is_better_than_bicubic(photo: Path, by: int) -> None:
    clean = read_image(photo).pixels
    height, width = (side // by * by for side in clean.shape[1:])
    clean = clean[:, :height, :width]
    small = shrink(clean, by).clamp(0, 1)
    found = enlarge_image(Image(small), by).pixels
    assert psnr(found, clean) > psnr(enlarge(small, by, height, width), clean) + 0.1


def test_shrunk_again_the_result_is_what_was_enlarged_even_after_a_model_that_paints() -> None:
    small = read_image(PHOTOS[0]).pixels[:, :80, :80]

    def paint(image: Image) -> Image:
        return image.with_pixels((image.pixels + 0.1).clamp(0, 1))

    for improve in (None, paint):
        large = enlarge_image(Image(small), 2, improve).pixels[None]
        assert psnr(resample(large, 80, 80)[0], small) > 38


def test_consistency_is_a_fixed_point_of_what_is_consistent() -> None:
    flat = torch.full((1, 3, 16, 16), 0.4)
    torch.testing.assert_close(consistent(flat, torch.full((1, 3, 8, 8), 0.4)), flat)


def test_transparency_depth_and_grey_are_kept() -> None:
    image = Image(torch.rand(1, 6, 8), 16, alpha=torch.ones(1, 6, 8))
    large = enlarge_image(image, 3)
    assert large.pixels.shape == (1, 18, 24)
    assert large.bits == 16
    assert large.alpha is not None
    torch.testing.assert_close(large.alpha, torch.ones(1, 18, 24))


def test_an_impossible_factor_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="by must be at least 1, got 0"):
        enlarge_image(Image(torch.rand(3, 4, 4)), 0)
