"""Parts of a picture that know where they lie are treated with the features of the whole, and no farther than is needed."""

import pytest
import torch
from torch import Tensor

from rebridge.denoisers import TiledDenoiser
from rebridge.networks.careful import Careful
from rebridge.networks.impressions import Impression
from rebridge.networks.treating import Treating
from tests.networks.waking import awake

NETWORK = awake(trial=True, verdict=True)
PICTURE = 2 * torch.rand(1, 3, 150, 700, generator=torch.Generator().manual_seed(3)) - 1


def seeing(kinds: list[str]) -> Treating:
    treating = NETWORK.treating(kinds).seeing(PICTURE)
    assert isinstance(treating, Treating)
    return treating


def placed(rows: slice, columns: slice) -> Impression:
    seen = seeing(["jpeg"]).part(rows, columns).seen
    assert seen is not None
    return seen


def tiled(kinds: list[str]) -> Tensor:
    whole = seeing(kinds)

    def of_tile(rows: slice, columns: slice) -> TiledDenoiser:
        return TiledDenoiser(whole.part(rows, columns))

    tiles = TiledDenoiser(whole, 384, of_tile=of_tile, context=NETWORK.context)
    with torch.no_grad():
        return tiles(PICTURE, torch.ones(1), PICTURE).x0


@pytest.mark.parametrize("kinds", [["noise"], ["snow"], ["haze"], ["lowlight", "rain"]])
def test_tiles_give_what_the_whole_gives(kinds: list[str]) -> None:
    with torch.no_grad():
        whole = seeing(kinds)(PICTURE, torch.ones(1), PICTURE)
    assert whole.abs().max() > 0.01
    torch.testing.assert_close(tiled(kinds), whole, rtol=0, atol=2e-3)


def test_a_part_has_the_features_of_the_whole_at_its_place_and_sees_no_more_than_it_needs() -> None:
    whole = NETWORK.look(PICTURE, trial=False).places
    assert whole is not None
    spare = NETWORK.spare
    assert spare > 0
    assert spare % 32 == 0
    middle, right = placed(slice(0, 150), slice(160, 512)), placed(slice(32, 150), slice(352, 700))
    assert middle.places is not None
    assert torch.equal(middle.places, whole[..., :, 10:32])
    assert middle.spare == (spare, spare, 0, 0)
    assert right.places is not None
    assert torch.equal(right.places, whole[..., 2:, 22:])
    assert right.spare == (spare, 0, spare, 0)
    ones = torch.ones(1, 1, 10, 22)
    assert middle.needed(ones, 16).shape == (1, 1, 10, 22 - 2 * spare // 16)


def test_a_part_beside_the_places_is_treated_by_itself() -> None:
    whole = seeing(["noise"])
    assert whole.part(slice(0, 150), slice(8, 360)).seen is whole.seen
    assert whole.part(slice(0, 72), slice(0, 700)).seen is whole.seen


def test_beside_what_is_needed_nothing_is_changed() -> None:
    part = seeing(["noise"]).part(slice(0, 150), slice(160, 512))
    y = PICTURE[..., 160:512]
    with torch.no_grad():
        change = part(y, torch.ones(1), y)
    spare = NETWORK.spare
    assert not change[..., :spare].any()
    assert not change[..., -spare:].any()
    assert change[..., spare:-spare].any()


def test_features_of_bands_join_to_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    y = torch.nn.functional.pad(PICTURE, (0, 4, 0, 10), mode="reflect")
    with torch.no_grad():
        whole = NETWORK.examiner(y)
        monkeypatch.setattr("rebridge.networks.judging.BAND", 704 * 16)
        torch.testing.assert_close(NETWORK._features(y), whole, rtol=1e-4, atol=1e-5)


def test_a_network_that_looks_far_anyhow_has_nothing_to_spare() -> None:
    far = Careful(widths=[8, 12, 16, 24], blocks=[2, 3, 3], middle=4, features=16)
    assert far.context == 192
    assert far.spare == 0
