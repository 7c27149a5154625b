"""Filling of marked places: nothing else changes."""

import pytest
import torch
from torch import Tensor

from rebridge.images import Image
from rebridge.restoration.filling import fill_image, marked


def hole(picture: Tensor) -> Tensor:
    missing = torch.zeros(picture.shape[-2:], dtype=torch.bool)
    missing[10:18, 20:30] = True
    return missing


def test_pixels_outside_are_the_same_and_those_inside_continue_what_is_around(picture: Tensor) -> None:
    missing = hole(picture)
    spoilt = torch.where(missing, torch.tensor(1.0), picture[0])
    found = fill_image(Image(spoilt), missing).pixels
    assert torch.equal(found[:, ~missing], picture[0][:, ~missing])
    worse = (spoilt - picture[0])[:, missing].abs().mean()
    assert (found - picture[0])[:, missing].abs().mean() < worse / 4


def test_what_is_under_the_mask_does_not_matter(picture: Tensor) -> None:
    missing = hole(picture)
    found = [
        fill_image(Image(torch.where(missing, torch.tensor(value), picture[0])), missing).pixels for value in (0.0, 1.0)
    ]
    assert torch.equal(*found)


def test_a_model_draws_in_the_holes_alone(picture: Tensor) -> None:
    missing = hole(picture)
    found = fill_image(Image(picture[0]), missing, lambda holed: holed.with_pixels(torch.ones_like(picture[0]))).pixels
    assert (found[:, missing] == 1).all()
    assert torch.equal(found[:, ~missing], picture[0][:, ~missing])


def test_masks_are_white_or_painted_and_must_mark_something_of_the_same_size(picture: Tensor) -> None:
    white = torch.zeros(1, 4, 5)
    white[0, 1, 2] = 1
    assert marked(Image(white)).nonzero().tolist() == [[1, 2]]
    painted = Image(torch.ones(3, 4, 5), alpha=white)
    assert marked(painted).nonzero().tolist() == [[1, 2]]
    with pytest.raises(ValueError, match="the mask marks nothing"):
        marked(Image(torch.zeros(1, 4, 5)))
    with pytest.raises(ValueError, match="the mask has 5 x 4 pixels, and the picture 48 x 40"):
        fill_image(Image(picture[0]), torch.ones(4, 5, dtype=torch.bool))
