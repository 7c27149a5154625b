"""The verdict hears what is measured of a whole picture, and the network decides by it."""

import pytest
import torch
from torch import nn

from rebridge import networks
from rebridge.networks.careful import KINDS, Careful
from rebridge.networks.statistics import MAP_NUMBERS, MAP_SIDE, air_map
from rebridge.networks.verdict import LIGHT_SHARE, UNOPPOSED, MapVoice, Verdict, gathered
from tests.networks.waking import awake


def test_numbers_far_from_those_of_training_are_cut_off() -> None:
    torch.manual_seed(0)
    judge = Verdict(5, 2).eval()
    far = torch.full((1, 5), 7.0)
    assert torch.equal(judge(far), judge(1000 * far))


def test_the_network_decides_by_its_verdict() -> None:
    torch.manual_seed(0)
    sizes = {"widths": [8, 12, 16], "blocks": [1, 1], "middle": 1, "features": 16}
    network = networks.create("careful", verdict=True, **sizes).eval()
    assert isinstance(network, Careful)
    assert network.verdict is not None
    y = 2 * torch.rand(1, 3, 64, 64) - 1
    with torch.no_grad():
        network.verdict.layers[-1].bias.copy_(torch.tensor([9.0 if kind == "rain" else -9.0 for kind in KINDS]))  # type: ignore[operator]
        found, treated = network.diagnose(y)
        assert [
            kind for kind, share in zip(KINDS, treated[0].tolist(), strict=True) if share > 0 and kind != "noise"
        ] == ["rain"]
        assert torch.equal(found, network.examine(y))
        seen = network.look(y)
        own = network.examiner.logits(seen)
        judged = network.verdict(gathered(seen, own))
        noise, blur = KINDS.index("noise"), KINDS.index("blur")
        judged[:, noise] = torch.maximum(judged[:, noise], own[:, noise])
        judged[:, blur] = torch.minimum(judged[:, blur], own[:, blur])
        assert torch.equal(network.judge(seen), judged)
    with pytest.raises(ValueError, match="without statistics"):
        network.judge(seen._replace(measured=None))


def test_haze_is_told_by_the_map_unless_all_numbers_speak_against_it() -> None:
    judge = Verdict(5, 2, haze=1, sees=True).eval()
    air = torch.rand(3, MAP_NUMBERS, MAP_SIDE, MAP_SIDE)
    for all_say, expected in ((9.0, 1.0), (-4.0, UNOPPOSED - 4.0)):
        with torch.no_grad():
            lasts = [(voice.second, 1.0) for voice in judge.maps if isinstance(voice, MapVoice)]
            for last, logit in [*lasts, (judge.layers[-1], all_say)]:
                assert isinstance(last, nn.Linear)
                last.weight.zero_()
                last.bias.fill_(logit)
            assert judge(torch.zeros(3, 5), air)[:, 1].tolist() == pytest.approx([expected] * 3)
            assert judge(torch.zeros(3, 5))[:, 1].tolist() == pytest.approx([all_say] * 3)


def test_darkness_is_told_by_all_numbers_and_by_the_map() -> None:
    judge = Verdict(5, 2, dark=1).eval()
    with torch.no_grad():
        lasts = [(voice.second, 3.0) for voice in judge.lights if isinstance(voice, MapVoice)]
        for last, logit in [*lasts, (judge.layers[-1], -2.0)]:
            assert isinstance(last, nn.Linear)
            last.weight.zero_()
            last.bias.fill_(logit)
        air = torch.rand(3, MAP_NUMBERS, MAP_SIDE, MAP_SIDE)
        shown, unshown = judge(torch.zeros(3, 5), air), judge(torch.zeros(3, 5))
    middle = -2 + 5 * LIGHT_SHARE
    assert shown.tolist() == [[-2, middle]] * 3
    assert unshown.tolist() == [[-2, -2]] * 3


@pytest.mark.parametrize("seeing", ["air_map", "light_map"])
def test_a_network_that_sees_maps_looks_at_its_pictures(seeing: str) -> None:
    network = awake(verdict=True, **{seeing: True})
    y = 2 * torch.rand(1, 3, 100, 118) - 1
    seen = network.look(y)
    assert seen.air is not None
    assert torch.equal(seen.air, air_map(y))
    assert awake(verdict=True).look(y).air is None


def test_a_map_and_its_mirror_image_say_the_same() -> None:
    judge = Verdict(5, 2, haze=1, sees=True, dark=0).eval()
    air = torch.rand(3, MAP_NUMBERS, MAP_SIDE, MAP_SIDE)
    with torch.no_grad():
        torch.testing.assert_close(judge.seen(air), judge.seen(air.flip(-1)))
        torch.testing.assert_close(judge.shown(air), judge.shown(air.flip(-1)))
