"""A trial tells rain by what it takes away and what it leaves, and decides where the first look leaves rain open."""

import math

import pytest
import torch
from torch import Tensor

from rebridge import networks
from rebridge.networks.careful import KINDS, Careful
from rebridge.networks.impressions import Impression
from rebridge.networks.judging import TRIED, Tried
from rebridge.networks.kinds import HAZE, NOISE, RAIN
from rebridge.networks.layers import Network
from rebridge.networks.lazy import mosaic
from rebridge.networks.trial import LAYER_NUMBERS, TRIAL_PARTS, TRIAL_SIDE, RainTrial, layer_numbers
from rebridge.networks.trust import held_back
from tests.networks.waking import SIZES, awake, named


def trying(decision: float, first: float) -> Careful:
    """A network whose trial says `decision` of rain in a picture without JPEG or noise, and whose first look says `first`."""
    torch.manual_seed(0)
    network = networks.create("careful", verdict=True, trial=True, **SIZES).eval()
    assert isinstance(network, Careful)
    assert network.verdict is not None
    assert network.trial is not None
    with torch.no_grad():
        for layers, value in ((network.trial.layers, decision), (network.verdict.layers, first)):
            last = layers[-1]
            assert isinstance(last, torch.nn.Linear)
            last.weight.zero_()
            last.bias.fill_(value)
        for kind in ("jpeg", "noise"):
            network.verdict.layers[-1].bias[KINDS.index(kind)] = -9.0  # type: ignore[operator]
        for layer in (network.examiner.second, network.examiner.place):
            layer.weight.zero_()
            assert layer.bias is not None
            layer.bias.fill_(-9.0)
    return network


def numbers(taken: Tensor) -> dict[str, Tensor]:
    """What is said of a layer (B, 1, H, W) in [0, 1] that was taken from a grey picture."""
    x = torch.zeros(len(taken), 3, *taken.shape[-2:])
    found = layer_numbers(x + 2 * taken, x)
    assert found.shape == (len(taken), LAYER_NUMBERS)
    names = ("size", "q5", "q25", "q50", "q75", "q95", "even", "bright", "skewness", "colour", "direction", "along")
    return dict(zip(names, found.unbind(1), strict=True))


def test_an_even_layer_has_its_size_everywhere_and_is_bright() -> None:
    found = numbers(torch.full((2, 1, 96, 128), 0.05))
    for key in ("size", "q5", "q25", "q50", "q75", "q95"):
        assert found[key].tolist() == pytest.approx([math.log(0.05 + 1e-4)] * 2, abs=1e-5)
    assert found["even"].tolist() == pytest.approx([1.0] * 2)
    assert found["bright"].tolist() == pytest.approx([1.0] * 2, abs=1e-4)
    assert found["colour"].tolist() == pytest.approx([0.0] * 2, abs=1e-4)


def test_lines_have_a_direction_and_noise_has_none() -> None:
    random = torch.Generator().manual_seed(0)
    lines = (torch.rand(1, 1, 1, 160, generator=random) < 0.1).float().expand(-1, -1, 160, -1)
    grains = (torch.rand(1, 1, 160, 160, generator=random) < 0.1).float()
    clouds = torch.nn.functional.avg_pool2d(grains, 5, 1, 2)
    found = numbers(torch.cat([lines, grains, clouds]))["direction"]
    assert found[0] > 0.99
    assert found[1] < 0.05
    assert found[2] < 0.1


def test_a_layer_in_one_corner_is_not_even() -> None:
    corner = torch.zeros(1, 1, 128, 128)
    corner[..., :32, :32] = 0.2
    assert numbers(corner)["even"].item() == pytest.approx(1 / 16, rel=1e-3)
    assert numbers(corner)["q75"].item() < math.log(1.2e-4)


def test_numbers_far_from_those_of_training_are_cut_off() -> None:
    torch.manual_seed(0)
    judge = RainTrial(2)
    far = torch.full((1, 4 + LAYER_NUMBERS), 5.0)
    assert torch.equal(judge(far), judge(100 * far))


@pytest.mark.parametrize(("first", "expected"), [(TRIED + 1, 3.0), (TRIED - 1, TRIED - 1)])
def test_the_trial_has_the_word_where_rain_is_open(first: float, expected: float) -> None:
    network = trying(3.0, first)
    y = 2 * torch.rand(2, 3, 64, 80) - 1
    with torch.no_grad():
        judged = network.judge(network.look(y))
        assert judged[:, RAIN].tolist() == pytest.approx([expected] * 2)
        assert judged.shape == (2, len(KINDS))
        found, treated = network.diagnose(y)
    assert found[:, RAIN].tolist() == pytest.approx([torch.tensor(expected).sigmoid().item()] * 2)
    assert bool((treated[:, RAIN] > 0).all()) == (expected > 0)


@pytest.mark.parametrize(("kind", "expected"), [("haze", 3.0), ("jpeg", 0.0), ("noise", 1.8)])
def test_a_compressed_or_noisy_picture_must_show_more_rain(kind: str, expected: float) -> None:
    network = trying(3.0, 5.0)
    y = 2 * torch.rand(1, 3, 64, 80) - 1
    assert network.verdict is not None
    with torch.no_grad():
        network.verdict.layers[-1].bias[KINDS.index(kind)] = 9.0  # type: ignore[operator]
        assert network.judge(network.look(y))[0, RAIN].item() == pytest.approx(expected, abs=1e-5)


def test_a_compressed_picture_is_tried_only_where_it_looks_rainy() -> None:
    y = 2 * torch.rand(1, 3, 64, 80) - 1
    for first, tried in ((TRIED + 1, False), (TRIED + 4, True)):
        network = trying(9.0, first)
        assert network.verdict is not None
        with torch.no_grad():
            network.verdict.layers[-1].bias[KINDS.index("jpeg")] = 9.0  # type: ignore[operator]
            assert (network.judge(network.look(y))[0, RAIN].item() == pytest.approx(6.0)) == tried  # surer by 3 in JPEG


def test_a_picture_that_the_trial_clears_is_left_as_it_is() -> None:
    network = trying(-9.0, 9.0)
    with torch.no_grad():
        for kind in range(len(KINDS)):
            if kind != RAIN:
                network.low[kind], network.high[kind] = 2.0, 3.0  # no other kind is treated
        y = 2 * torch.rand(1, 3, 48, 48) - 1
        assert not network(y, torch.ones(1), y).any()


def test_who_is_told_what_to_treat_makes_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    network = trying(3.0, 3.0)
    tries: list[Tensor] = []
    made = network.tried

    def watched(picture: Tensor, kind: int, seen: Impression) -> Tried:
        tries.append(picture)
        return made(picture, kind, seen)

    monkeypatch.setattr(network, "tried", watched)
    y = 2 * torch.rand(1, 3, 48, 48) - 1
    with torch.no_grad():
        network.treating(["rain"])(y, torch.ones(1), y)
        network.treating(["rain"]).seeing(y)(y, torch.ones(1), y)
        assert not tries
        network(y, torch.ones(1), y)
        assert len(tries) == 1


def test_a_large_picture_is_tried_in_parts() -> None:
    network = trying(3.0, 3.0)
    y = 2 * torch.rand(1, 3, 16 * 40, 16 * 33) - 1
    with torch.no_grad():
        parts = mosaic(y, TRIAL_PARTS, TRIAL_SIDE)
        assert parts.shape[-2:] == (TRIAL_PARTS * TRIAL_SIDE, TRIAL_PARTS * TRIAL_SIDE)
        of_whole, of_parts = (network.shown_by(network.tried(picture, RAIN)) for picture in (y, parts))
        assert torch.allclose(of_whole, of_parts, atol=1e-5)


def test_a_small_picture_is_not_looked_at_again_before_a_trial() -> None:
    network = trying(3.0, 3.0)
    y = 2 * torch.rand(1, 3, 64, 80) - 1
    with torch.no_grad():
        seen = network.look(y, trial=False)
        before, again = (network.shown_by(network.tried(y, RAIN, known)) for known in (seen, None))
        assert torch.allclose(before, again, atol=1e-5)


def deciding(monkeypatch: pytest.MonkeyPatch, found: tuple[int, ...]) -> tuple[Careful, list[int]]:
    """A network that is sure of these kinds of noise, haze and rain in any picture; how often its trunk was asked."""
    network = awake(verdict=True, trial=True)
    said = torch.full((1, len(KINDS)), -9.0)
    said[:, NOISE] = 2.0  # of use, and too little to look for haze without it
    said[:, list(found)] = 9.0
    monkeypatch.setattr(network, "judge", lambda seen: said.expand(len(seen.levels), -1))
    monkeypatch.setattr(network, "decide", lambda logits: (logits > 5).float())
    asked: list[int] = []
    network.trunk.register_forward_hook(lambda module, given, answer: asked.append(1))
    return network, asked


@torch.no_grad()
@pytest.mark.parametrize(
    ("found", "counts"), [((RAIN,), [1, 2, 2, 3]), ((NOISE, HAZE), [2, 3, 4, 6]), ((RAIN, NOISE, HAZE), [3, 5, 6, 8])]
)
def test_what_a_trial_made_of_a_picture_is_not_made_again(
    monkeypatch: pytest.MonkeyPatch, found: tuple[int, ...], counts: list[int]
) -> None:
    network, asked = deciding(monkeypatch, found)
    y, t = 2 * torch.rand(1, 3, 48, 61) - 1, torch.ones(1)
    counted: list[int] = []

    def count() -> None:
        counted.append(len(asked))

    once = network(y, t, y)
    count()
    seen = network.look(y)
    count()
    assert torch.equal(network(y, t, y, seen=seen), once)
    count()
    assert torch.equal(network(y, t, y, seen=seen._replace(treated=None, change=None)), once)
    count()
    assert counted == counts


@torch.no_grad()
def test_a_part_of_a_picture_that_was_tried_is_treated_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    network, asked = deciding(monkeypatch, (RAIN,))
    y, t = 2 * torch.rand(1, 3, 64, 64) - 1, torch.ones(1)
    whole = network.seeing(y)
    assert len(asked) == 1
    whole(y, t, y)
    assert len(asked) == 1
    tile = y[..., 1:, :]  # is as large as the whole once it is extended
    whole.part(slice(1, 64), slice(0, 64))(tile, t, tile)
    assert len(asked) == 2


@torch.no_grad()
def test_of_a_batch_only_those_are_treated_again_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network, asked = deciding(monkeypatch, (RAIN,))
    y, t = 2 * torch.rand(3, 3, 48, 48) - 1, torch.ones(3)
    seen = network.look(y)
    kinds = torch.cat([named("rain"), named("snow"), named("rain")])
    asked.clear()
    together = network(y, t, y, kinds, seen=seen)
    assert len(asked) == 1
    assert torch.allclose(together, network(y, t, y, kinds), atol=2e-4)


def test_slow_changes_are_held_back_where_the_tone_has_the_word() -> None:
    even = torch.full((2, 3, 64, 64), 0.2)
    fast = torch.where((torch.arange(64)[:, None] + torch.arange(64)) % 2 == 0, 0.1, -0.1).expand(2, 3, -1, -1)
    found = held_back(even + fast, torch.tensor([0.6, 0.0]))
    assert torch.allclose(found[0], 0.4 * 0.2 + fast[0], atol=1e-6)
    assert torch.equal(found[1], (even + fast)[1])


@pytest.mark.parametrize(("depth", "share"), [(0.05, 0.2), (0.65, 0.4), (2.0, 0.9)])
def test_slow_changes_are_the_tones_where_haze_is_dense_and_all_of_them_without_its_noise(
    depth: float, share: float
) -> None:
    network = trying(3.0, 3.0)
    names: tuple[list[str], ...] = ([], ["haze"], ["lowlight"], ["haze", "noise"], ["noise"])
    kinds = torch.tensor([[float(kind in some) for kind in KINDS] for some in names])
    held = network._held(kinds, torch.full((5,), depth))
    assert held.tolist() == pytest.approx([0, share, 0.6, 1, 0])


def test_rain_and_snow_leave_slow_changes_to_the_trunk() -> None:
    network = trying(3.0, 3.0)
    names: tuple[list[str], ...] = ([], ["haze"], ["lowlight", "noise"], ["haze", "rain"], ["haze", "snow"], ["rain"])
    kinds = torch.tensor([[float(kind in some) for kind in KINDS] for some in names])
    assert network._held(kinds, torch.ones(6)).tolist() == pytest.approx([0, 0.575, 0.6, 0, 0, 0])


def test_networks_without_a_trial_are_as_before() -> None:
    network = networks.create("careful", **SIZES)
    assert isinstance(network, Network)
    assert not any(key.startswith("trial.") for key in network.state_dict())
