"""A trial takes raindrops, or blur, out of a picture where they are open, and decides by where that changed it and how."""

import math

import pytest
import torch
from torch import Tensor

from rebridge import networks
from rebridge.models import load_model
from rebridge.networks.careful import Careful
from rebridge.networks.impressions import Impression
from rebridge.networks.judging import BY_CHANGES, Tried
from rebridge.networks.kinds import KINDS, RAINDROP, SOFT
from rebridge.networks.trial import (
    CHANGE_MAPS,
    LAYER_NUMBERS,
    LEAST_CHANGE,
    ChangeTrial,
    Shown,
    change_maps,
    numbers_of_trial,
)
from tests.networks.waking import SIZES, awake

NUMBERS = 2 * len(KINDS) + LAYER_NUMBERS


def trying(**told: bool) -> Careful:
    torch.manual_seed(0)
    network = networks.create("careful", verdict=True, trial=True, change_trials=["raindrop", "blur"], **SIZES, **told)
    assert isinstance(network, Careful)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def pictures(batch: int) -> Tensor:
    return 2 * torch.rand(batch, 3, 48, 64, generator=torch.Generator().manual_seed(1)) - 1


def saying(monkeypatch: pytest.MonkeyPatch, network: Careful, decision: float, **said: float) -> list[Shown]:
    """Let a network say this of every picture at first sight and no other kinds, and its trial `decision`; what that is shown."""
    logits = torch.full((1, len(KINDS)), -9.0)
    for kind, value in said.items():
        logits[:, KINDS.index(kind)] = value
    heard: list[Shown] = []

    def judge(seen: Impression) -> Tensor:
        return logits.expand(len(seen.levels), -1) if seen.judged is None else seen.judged

    def decide(shown: Shown) -> Tensor:
        heard.append(shown)
        return torch.full((1,), decision)

    monkeypatch.setattr(network, "judge", judge)
    for trial in network.change_trials.values():
        monkeypatch.setattr(trial, "forward", decide)
    return heard


def logits_of(network: Careful, y: Tensor, kind: int = RAINDROP) -> list[float]:
    judged = network.look(y).judged
    assert judged is not None
    return [float(logit) for logit in judged[:, kind]]


@torch.no_grad()
@pytest.mark.parametrize("kind", [RAINDROP, SOFT])
@pytest.mark.parametrize(("above", "tried"), [(0.1, True), (9.0, True), (-0.1, False)])
def test_a_trial_decides_where_a_kind_is_open(
    monkeypatch: pytest.MonkeyPatch, kind: int, above: float, tried: bool
) -> None:
    network, first = trying(), BY_CHANGES[kind] + above
    heard = saying(monkeypatch, network, 1.25, **{KINDS[kind]: first})
    assert logits_of(network, pictures(2), kind) == pytest.approx([1.25 if tried else first] * 2)
    assert len(heard) == 2 * tried


@torch.no_grad()
@pytest.mark.parametrize(("kind", "tried"), [("jpeg", True), ("snow", False), ("blur", True), ("lowlight", False)])
def test_a_trial_is_made_where_no_kind_is_treated_but_jpeg_and_those_that_are_tried(
    monkeypatch: pytest.MonkeyPatch, kind: str, tried: bool
) -> None:
    network = trying()
    saying(monkeypatch, network, 1.25, raindrop=0.0, **{kind: 9.0})
    assert logits_of(network, pictures(1)) == [1.25 if tried else 0.0]


@torch.no_grad()
def test_no_raindrops_are_looked_for_in_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    network = trying(air_map=True)
    saying(monkeypatch, network, 1.25, raindrop=0.0, blur=0.0)
    grain = pictures(1)
    drawing = (grain[..., ::16, ::16] > 0).float().repeat_interleave(16, -2).repeat_interleave(16, -1)
    assert logits_of(network, grain) == [1.25]
    assert logits_of(network, drawing) == [0.0]
    assert logits_of(network, drawing, SOFT) == [1.25]


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
    trial = ChangeTrial(len(KINDS)).eval()
    maps, numbers = torch.randn(3, CHANGE_MAPS, 12, 12), torch.full((3, NUMBERS), 5.0)
    with torch.no_grad():
        said = trial(Shown(maps, numbers))
        torch.testing.assert_close(trial(Shown(maps, 100 * numbers)), said)
        torch.testing.assert_close(trial(Shown(maps.flip(-1), numbers)), said)
        assert not torch.equal(trial(Shown(maps, -numbers)), said)


@torch.no_grad()
def test_a_network_without_such_trials_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    network = awake(verdict=True, trial=True)
    assert not any(key.startswith("change_trials.") for key in network.state_dict())
    monkeypatch.setattr(network, "judge", lambda seen: torch.full((len(seen.levels), len(KINDS)), -1.0))
    judged = network.look(pictures(1)).judged
    assert judged is not None
    assert judged[0, RAINDROP] == -1.0


def test_trials_are_made_of_kinds_that_change_a_picture_in_places() -> None:
    with pytest.raises(ValueError, match="change_trials must be some of raindrop, blur, got haze"):
        networks.create("careful", change_trials=["haze"], **SIZES)


@pytest.mark.parametrize("name", ["rdbm-small", "rdbm-tiny"])
def test_packaged_models_make_trials_of_raindrops_and_blur(name: str) -> None:
    network = load_model(name).network
    assert isinstance(network, Careful)
    assert set(network.change_trials) == {"raindrop", "blur"}
    for trial in network.change_trials.values():
        assert float(trial.scale.min()) > 0  # type: ignore[operator]
