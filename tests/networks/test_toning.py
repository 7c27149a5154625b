"""The tone leans on the dark channel prior where haze is dense, once it has been trained."""

import math

import pytest
import torch

from rebridge.networks.impressions import Impression, impression
from rebridge.networks.toning import HAZE_KEPT, LEAN, MOST_LEAN, Tone, prior_depth


def looked(brightness: float) -> tuple[Tone, torch.Tensor, torch.Tensor, Impression]:
    """An untrained tone and a picture whose darkest colour is `brightness` of the air in all but a corner, which is white."""
    torch.manual_seed(0)
    y = torch.full((1, 3, 64, 64), 2 * brightness - 1)
    y[..., :16, :16] = 1.0
    features = torch.zeros(1, 8, 4, 4)
    return Tone(8), y, features, impression(y, features)


def test_the_prior_is_a_share_of_koschmieders_depth() -> None:
    dark = torch.tensor([0.0, 0.5, 1.0])
    wanted = [-math.log(1 - HAZE_KEPT * value) for value in (0.0, 0.5, 1.0)]
    assert prior_depth(dark).tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("brightness", [0.05, 0.5, 0.95])
def test_the_depth_lies_between_what_was_learned_and_the_prior(brightness: float) -> None:
    tone, y, features, seen = looked(brightness)
    one, none = torch.ones(1), torch.zeros(1)
    with torch.no_grad():
        learned = tone.train().depth_map(y, features, seen, one, none)
        leaned = tone.eval().depth_map(y, features, seen, one, none)
    air = seen.levels[0, :3, -1].mean().item()
    prior = prior_depth(torch.tensor(brightness / air)).item()
    weight = min(LEAN * prior, MOST_LEAN)
    inner = (0, 0, 4, 4)  # away from the corner
    assert leaned[inner].item() == pytest.approx((1 - weight) * learned[inner].item() + weight * prior, abs=1e-4)


def test_a_picture_with_black_in_most_places_is_left_to_what_was_learned() -> None:
    tone, y, features, seen = looked(0.0)
    one, none = torch.ones(1), torch.zeros(1)
    with torch.no_grad():
        learned = tone.train().depth_map(y, features, seen, one, none)
        assert torch.equal(tone.eval().depth_map(y, features, seen, one, none), learned)
