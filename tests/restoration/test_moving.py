"""Steadying of films: still places are averaged over time by a known share, moving ones stay, and flicker is in levels."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rebridge.images import Image
from rebridge.restoration.moving import Flicker, restore_frames, steadied


@given(st.floats(-0.1, 0.1), st.floats(0, 1))
def test_a_still_frame_goes_the_stated_share_of_the_way_to_the_one_before(change: float, steady: float) -> None:
    """Everywhere alike, borders too: the share is 0.8 steady exp(-(d / (8/255))^2) for a difference of d."""
    before = torch.full((3, 9, 12), 0.5, dtype=torch.float64)
    frame = before + change
    share = 0.8 * steady * math.exp(-((change / (8 / 255)) ** 2))
    torch.testing.assert_close(steadied(frame, before, steady), frame - share * change, rtol=0, atol=1e-9)


def test_what_moves_stays_as_it_is_and_what_is_still_does_not() -> None:
    before = torch.full((1, 20, 40), 0.2)
    frame = before + 0.01
    frame[..., 20:] = 0.9
    found = steadied(frame, before, 0.5)
    assert torch.equal(found[..., 24:], frame[..., 24:])
    assert (found[..., :16] < frame[..., :16] - 0.002).all()


def test_frames_follow_the_restored_frame_before_and_the_first_is_left_alone() -> None:
    frames = [Image(torch.full((3, 6, 6), value)) for value in (0.5, 0.51, 0.51)]
    found = [restored.pixels.mean().item() for _, restored in restore_frames(iter(frames), lambda image: image, 1.0)]
    assert found[0] == pytest.approx(0.5)
    for before, frame, after in ((found[0], 0.51, found[1]), (found[1], 0.51, found[2])):
        share = 0.8 * math.exp(-(((frame - before) * 255 / 8) ** 2))
        assert after == pytest.approx(frame + share * (before - frame), abs=1e-5)


def test_flicker_is_the_mean_change_between_frames_in_levels() -> None:
    flicker = Flicker()
    assert flicker.mean == 0
    for value in (0, 4, 2, 8):
        flicker.add(torch.full((3, 4, 5), value / 255))
    assert flicker.mean == pytest.approx((4 + 2 + 6) / 3, abs=1e-4)
