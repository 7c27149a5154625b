"""A trial takes raindrops out of a picture that may have some, and decides by where that changed it and how."""

import math

import pytest
import torch
from torch import Tensor

from rebridge import degradations
from rebridge.images import read_image
from rebridge.models import load_model
from rebridge.networks.careful import Careful
from rebridge.networks.impressions import Impression
from rebridge.networks.judging import DROPPED, DROPS_SIDE, DROPS_SPREAD, Tried
from rebridge.networks.kinds import KINDS, RAINDROP
from rebridge.networks.trial import (
    CHANGE_MAPS,
    LAYER_NUMBERS,
    LEAST_CHANGE,
    DropTrial,
    Wiped,
    change_maps,
    changed_share,
    numbers_of_trial,
)
from tests.networks.waking import awake

NUMBERS = 2 * len(KINDS) + LAYER_NUMBERS


def trying(**told: bool) -> Careful:
    return awake(verdict=True, trial=True, drop_trial=True, **told)


def pictures(batch: int, height: int = DROPS_SIDE) -> Tensor:
    return 2 * torch.rand(batch, 3, height, DROPS_SIDE + 16, generator=torch.Generator().manual_seed(1)) - 1


def saying(
    monkeypatch: pytest.MonkeyPatch, network: Careful, decision: float, spread: float = 1.0, **said: float
) -> list[Wiped]:
    """Let a network say this of every picture at first sight and no other kinds, and its trial `decision`; what that is shown."""
    logits = torch.full((1, len(KINDS)), -9.0)
    for kind, value in said.items():
        logits[:, KINDS.index(kind)] = value
    heard: list[Wiped] = []

    def judge(seen: Impression) -> Tensor:
        return logits.expand(len(seen.levels), -1) if seen.judged is None else seen.judged

    def decide(shown: Wiped) -> Tensor:
        heard.append(shown)
        return torch.full((1,), decision)

    monkeypatch.setattr(network, "judge", judge)
    assert network.drop_trial is not None
    monkeypatch.setattr(network.drop_trial, "forward", decide)
    monkeypatch.setattr("rebridge.networks.judging.changed_share", lambda maps: torch.full((len(maps),), spread))
    return heard


def logits_of(network: Careful, y: Tensor) -> list[float]:
    judged = network.look(y).judged
    assert judged is not None
    return [float(logit) for logit in judged[:, RAINDROP]]


@torch.no_grad()
@pytest.mark.parametrize(("first", "tried"), [(DROPPED + 0.1, True), (9.0, True), (DROPPED - 0.1, False)])
def test_a_trial_decides_where_raindrops_are_open(monkeypatch: pytest.MonkeyPatch, first: float, tried: bool) -> None:
    network = trying()
    heard = saying(monkeypatch, network, 1.25, raindrop=first)
    assert logits_of(network, pictures(2)) == pytest.approx([1.25 if tried else first] * 2)
    assert len(heard) == 2 * tried


@torch.no_grad()
@pytest.mark.parametrize(
    ("decision", "spread", "expected"),
    [(1.25, DROPS_SPREAD + 0.01, 1.25), (1.25, DROPS_SPREAD - 0.01, 0.0), (-1.25, DROPS_SPREAD - 0.01, -1.25)],
)
def test_what_is_changed_in_few_places_may_as_well_be_a_face(
    monkeypatch: pytest.MonkeyPatch, decision: float, spread: float, expected: float
) -> None:
    network = trying()
    saying(monkeypatch, network, decision, spread, raindrop=0.0)
    assert logits_of(network, pictures(1)) == [expected]


@torch.no_grad()
@pytest.mark.parametrize(("kind", "tried"), [("jpeg", True), ("snow", False), ("blur", False), ("lowlight", False)])
def test_raindrops_are_looked_for_where_nothing_else_but_jpeg_is_treated(
    monkeypatch: pytest.MonkeyPatch, kind: str, tried: bool
) -> None:
    network = trying()
    saying(monkeypatch, network, 1.25, raindrop=0.0, **{kind: 9.0})
    assert logits_of(network, pictures(1)) == [1.25 if tried else 0.0]


@torch.no_grad()
def test_no_raindrops_are_looked_for_in_small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    network = trying()
    saying(monkeypatch, network, 1.25, raindrop=0.0)
    assert logits_of(network, pictures(1, DROPS_SIDE - 16)) == [0.0]
    assert logits_of(network, pictures(1, DROPS_SIDE)) == [1.25]


@torch.no_grad()
def test_no_raindrops_are_looked_for_in_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    network = trying(air_map=True)
    saying(monkeypatch, network, 1.25, raindrop=0.0)
    grain = pictures(1)
    drawing = (grain[..., ::16, ::16] > 0).float().repeat_interleave(16, -2).repeat_interleave(16, -1)
    assert logits_of(network, grain) == [1.25]
    assert logits_of(network, drawing) == [0.0]


@torch.no_grad()
def test_a_trial_is_shown_where_drops_were_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y = trying(), 0.5 * pictures(1)
    heard = saying(monkeypatch, network, 1.25, raindrop=0.0)
    change = torch.zeros_like(y)
    change[..., :8, :8] = 0.2
    monkeypatch.setattr(network, "tried", lambda y, kind, seen: Tried(y, change, seen))
    network.look(y)
    (shown,) = heard
    torch.testing.assert_close(shown.maps, change_maps(y, y + change))
    said = torch.full((1, len(KINDS)), -9.0)
    said[:, RAINDROP] = 0.0
    torch.testing.assert_close(shown.numbers, numbers_of_trial(said, said, y, y + change))


@torch.no_grad()
def test_what_a_trial_made_of_a_picture_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y, t = trying(), pictures(1), torch.ones(1)
    saying(monkeypatch, network, 9.0, raindrop=0.0)
    asked: list[int] = []
    network.trunk.register_forward_hook(lambda module, given, answer: asked.append(1))
    change = network(y, t, y)
    assert len(asked) == 1
    assert change.any()
    torch.testing.assert_close(network.treating(["raindrop"])(y, t, y), change)


@torch.no_grad()
def test_a_picture_that_the_trial_clears_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y = trying(), pictures(1)
    saying(monkeypatch, network, -9.0, raindrop=9.0)
    assert not network(y, torch.ones(1), y).any()


@torch.no_grad()
def test_a_graph_makes_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    network = trying()
    heard = saying(monkeypatch, network, 1.25, raindrop=0.0)
    monkeypatch.setattr("rebridge.networks.judging.exporting", lambda: True)
    network.look(pictures(1))
    assert not heard


def test_maps_show_an_even_change_everywhere_and_no_slope_of_it() -> None:
    y = torch.zeros(2, 3, 48, 96)
    maps = change_maps(y, y + 0.2)
    assert maps.shape == (2, CHANGE_MAPS, 12, 12)
    nothing, size = (math.log(energy + LEAST_CHANGE) / 2 for energy in (0.0, 0.1**2))
    steepest, greatest = (math.log(energy + 10 * LEAST_CHANGE) / 2 for energy in (0.0, 0.1**2))
    expected = [1.0, size, *[nothing] * 6, steepest, steepest, greatest]
    torch.testing.assert_close(maps, torch.tensor(expected).view(1, -1, 1, 1).expand_as(maps), atol=1e-4, rtol=0)


def test_maps_show_where_a_change_is_and_what_kind_it_is() -> None:
    y = torch.zeros(1, 3, 96, 96)
    x = y.clone()
    x[:, 0, :8, 8:16] = 0.4  # the second cell becomes red
    x[:, :, 88:, 88:] = (torch.arange(8) % 2) * 0.4  # the last one gets lines
    maps, nothing = change_maps(y, x)[0], math.log(LEAST_CHANGE) / 2
    changed = (maps[1] > nothing + 0.1).nonzero().tolist()
    assert changed == [[0, 1], [11, 11]]
    assert float(maps[0, 0, 1]) == pytest.approx(10 * 0.2 / 3, abs=1e-4)
    assert ((maps[2] > nothing + 0.1).nonzero()).tolist() == [[0, 1]]  # of colour
    assert float(maps[4, 11, 11]) > float(maps[3, 11, 11]) + 3  # finer than before
    assert float(maps[6, 11, 11]) > float(maps[5, 11, 11]) + 3  # steeper


def test_numbers_far_from_those_of_training_are_cut_off_and_mirror_images_judged_alike() -> None:
    torch.manual_seed(0)
    trial = DropTrial(len(KINDS)).eval()
    maps, numbers = torch.randn(3, CHANGE_MAPS, 12, 12), torch.full((3, NUMBERS), 5.0)
    with torch.no_grad():
        said = trial(Wiped(maps, numbers))
        torch.testing.assert_close(trial(Wiped(maps, 100 * numbers)), said)
        torch.testing.assert_close(trial(Wiped(maps.flip(-1), numbers)), said)
        assert not torch.equal(trial(Wiped(maps, -numbers)), said)


@torch.no_grad()
def test_a_network_without_such_trials_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    network = awake(verdict=True, trial=True)
    assert not any(key.startswith("drop_trial.") for key in network.state_dict())
    monkeypatch.setattr(network, "judge", lambda seen: torch.full((len(seen.levels), len(KINDS)), -1.0))
    judged = network.look(pictures(1)).judged
    assert judged is not None
    assert judged[0, RAINDROP] == -1.0


def test_a_change_is_seen_in_the_share_of_the_places_in_which_it_is_visible() -> None:
    y = torch.zeros(2, 3, 96, 96)
    x = y.clone()
    x[0, :, :24] = 0.1  # a quarter, by 0.05
    x[1, :, :24] = 0.01
    assert changed_share(change_maps(y, x)).tolist() == pytest.approx([0.25, 0.0])


@pytest.mark.parametrize("name", ["rdbm-small", "rdbm-tiny"])
def test_packaged_models_find_raindrops_and_leave_sound_photographs_alone(name: str) -> None:
    network = load_model(name).network
    assert isinstance(network, Careful)
    photo = read_image("examples/images/chelsea.jpg").pixels[None, :3]
    drops = degradations.create("raindrop")(photo, torch.Generator().manual_seed(1))
    rainy, y, t = 2 * drops - 1, 2 * photo - 1, torch.ones(1)
    with torch.no_grad():
        assert not network(y, t, y).any()
        change = network(rainy, t, rainy)
    assert (rainy + change - y).square().mean() < 0.7 * (rainy - y).square().mean()
