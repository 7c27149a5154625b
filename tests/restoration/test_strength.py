"""The strength of a restoration: y + s (x_hat - y), once, whatever restores."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import Measurement, Restorer
from rebridge.inverse import operators


def test_the_result_is_the_blend_of_image_and_restoration(restore: Restorer, picture: Tensor) -> None:
    whole = restore(picture)
    for strength in (0.25, 0.5, 0.9):
        torch.testing.assert_close(restore(picture, strength=strength), picture + strength * (whole - picture))
    assert torch.equal(restore(picture, strength=0.0), picture)
    assert torch.equal(restore(picture, strength=1.0), whole)


def test_more_than_one_exaggerates_the_change_within_the_range(restore: Restorer, picture: Tensor) -> None:
    whole = restore(picture)
    expected = (picture + 3 * (whole - picture)).clamp(0, 1)
    torch.testing.assert_close(restore(picture, strength=3), expected)


def test_grey_pictures_stay_grey_and_samples_are_blended_one_by_one(restore: Restorer, picture: Tensor) -> None:
    grey = picture[:, :1]
    found = restore.sample(grey, 2, strength=0.5)
    full = restore.sample(grey, 2)
    assert found.mean.shape == grey.shape
    torch.testing.assert_close(found.std, full.std / 2)


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
def test_impossible_strengths_are_one_sentence(restore: Restorer, picture: Tensor, strength: float) -> None:
    with pytest.raises(ValueError, match="strength must be at least 0"):
        restore(picture, strength=strength)


def test_measurements_have_no_strength(pixel_folder: Any, picture: Tensor) -> None:
    operator = operators.create("mask", tuple(picture.shape[1:]), missing=0.5)
    with pytest.raises(ValueError, match="no image to blend with"):
        Restorer(pixel_folder)(Measurement(operator.A(picture), operator), strength=0.5)
