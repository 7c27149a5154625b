"""A trial takes haze out of a picture that may be hazy, and decides by the air with it and without it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge.models import load_model
from rebridge.networks.careful import Careful
from rebridge.networks.exporting import exporting
from rebridge.networks.judging import HAZY, SURER, UNTRIED, Tried
from rebridge.networks.kinds import HAZE, KINDS, NOISE
from rebridge.networks.statistics import MAP_NUMBERS, air_map, colour_alone
from rebridge.networks.trial import (
    BY_CHANGE,
    HAZE_MAPS,
    HAZE_NUMBERS,
    LEARNED,
    USUAL_CHANGE,
    HazeTrial,
    Unveiled,
    unveiled,
)
from tests.networks.waking import awake


def trying() -> Careful:
    return awake(verdict=True, trial=True, haze_trial=True)


def pictures(batch: int) -> Tensor:
    return 2 * torch.rand(batch, 3, 48, 64, generator=torch.Generator().manual_seed(1)) - 1


def saying(monkeypatch: pytest.MonkeyPatch, network: Careful, **said: float) -> None:
    """Let a network say this of every picture at first sight, and no other kinds."""
    logits = torch.full((1, len(KINDS)), -9.0)
    for kind, value in said.items():
        logits[:, KINDS.index(kind)] = value
    monkeypatch.setattr(network, "judge", lambda seen: logits.expand(len(seen.levels), -1))


@torch.no_grad()
@pytest.mark.parametrize(("first", "tried"), [(HAZY + 0.1, True), (9.0, True), (HAZY - 0.1, False)])
def test_a_trial_decides_where_haze_is_open(monkeypatch: pytest.MonkeyPatch, first: float, tried: bool) -> None:
    network = trying()
    saying(monkeypatch, network, haze=first)
    heard: list[Tensor] = []

    def decision(shown: Unveiled) -> Tensor:
        heard.append(shown.numbers)
        return torch.full((1,), 1.25)

    assert network.haze_trial is not None
    monkeypatch.setattr(network.haze_trial, "forward", decision)
    judged = network.look(pictures(2)).judged
    assert judged is not None
    assert judged[:, HAZE].tolist() == pytest.approx([1.25 if tried else first] * 2)
    assert [float(numbers[0, 0]) for numbers in heard] == pytest.approx([first] * (2 * tried))


@torch.no_grad()
def test_a_trial_is_shown_the_air_with_and_without_haze(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y = trying(), 0.5 * pictures(1)
    monkeypatch.setattr(network.tone, "forward", lambda picture, *given: 1.5 * picture - 0.2)
    monkeypatch.setattr(network.tone, "depth_map", lambda picture, *given: torch.full((1, 1, 6, 8), 0.7))
    shown = network.unveiled(torch.tensor([1.5]), y, network.look(y, trial=False))
    x = (1.5 * y - 0.2).clamp(-1, 1)
    assert shown.maps.shape[1] == HAZE_MAPS
    torch.testing.assert_close(shown.maps[:, :MAP_NUMBERS], air_map(y))
    torch.testing.assert_close(shown.maps[:, MAP_NUMBERS:-1], air_map(x))
    torch.testing.assert_close(shown.maps[:, -1], torch.full((1, 12, 12), 0.7))
    size = float((x - y).square().mean().sqrt())
    colours = [float(torch.log(colour_alone(picture) + 5e-3)) for picture in (x, y)]
    assert shown.numbers[0].tolist() == pytest.approx([1.5, size, *colours], abs=1e-5)


def test_voices_add_to_what_was_said_before_and_judge_mirror_images_alike() -> None:
    torch.manual_seed(0)
    trial = HazeTrial().eval()
    maps, numbers = torch.randn(3, HAZE_MAPS, 12, 12), torch.randn(3, HAZE_NUMBERS)
    with torch.no_grad():
        said = trial(Unveiled(maps, numbers))
        torch.testing.assert_close(trial(Unveiled(maps.flip(-1), numbers)), said)
        for voice in trial.voices:
            voice.second.weight.zero_()  # type: ignore[union-attr, operator]
            voice.second.bias.fill_(0.5)  # type: ignore[union-attr, operator]
        by_size = BY_CHANGE * (numbers[:, 1] - USUAL_CHANGE)
        torch.testing.assert_close(trial(Unveiled(maps, numbers)), numbers[:, 0] + 0.5 * LEARNED + by_size)


def test_what_was_sure_before_counts_no_more_than_a_bound() -> None:
    y = pictures(1)
    depth = torch.zeros(1, 1, 6, 8)
    numbers = [float(unveiled(torch.tensor([haze]), y, y, depth).numbers[0, 0]) for haze in (-20.0, 3.0, 40.0)]
    assert numbers == [-6.0, 3.0, 10.0]


@torch.no_grad()
def test_a_trial_is_made_without_the_noise_where_that_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y = trying(), 0.5 * pictures(1)
    saying(monkeypatch, network, haze=1.0, noise=9.0)
    seen: list[tuple[float, Tensor]] = []
    made = network.unveiled

    def watched(haze: Tensor, picture: Tensor, before: Any) -> Unveiled:
        seen.append((float(haze), picture))
        return made(haze, picture, before)

    monkeypatch.setattr(network, "tried", lambda y, kind, before: Tried(y, torch.full_like(y, 0.1), before))
    monkeypatch.setattr(network, "unveiled", watched)
    network.look(y)
    ((haze, picture),) = seen
    assert haze == pytest.approx(1.0 + SURER)
    assert torch.equal(picture, y + 0.1)


@torch.no_grad()
@pytest.mark.parametrize(("scale", "noise"), [(0.9, -9.0), (0.9, 9.0), (0.1, -9.0), (0.1, 9.0)])
def test_a_picture_that_is_dark_everywhere_is_not_tried(
    monkeypatch: pytest.MonkeyPatch, scale: float, noise: float
) -> None:
    network, y = trying(), scale * (pictures(1) + 1) - 1
    saying(monkeypatch, network, haze=1.0, noise=noise)
    tries: list[Tensor] = []
    made = network.unveiled

    def watched(haze: Tensor, picture: Tensor, before: Any) -> Unveiled:
        tries.append(picture)
        return made(haze, picture, before)

    monkeypatch.setattr(network, "tried", lambda y, kind, before: Tried(y, torch.zeros_like(y), before))
    monkeypatch.setattr(network, "unveiled", watched)
    network.look(y)
    assert bool(tries) is (scale == 0.9)


@torch.no_grad()
def test_a_network_without_trials_of_haze_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    network = awake(verdict=True, trial=True)
    saying(monkeypatch, network, haze=3.0)
    assert not any(key.startswith("haze_trial.") for key in network.state_dict())
    judged = network.look(pictures(1)).judged
    assert judged is not None
    assert judged[0, HAZE] == 3.0


@torch.no_grad()
def test_a_graph_makes_no_trial_and_must_be_surer_at_first_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    y = pictures(1)
    for told, less in (({"haze_trial": True}, UNTRIED), ({}, 0.0)):
        network = awake(verdict=True, trial=True, **told)
        seen = network.look(y, trial=False)
        before = network.judge(seen)
        monkeypatch.setattr("rebridge.networks.judging.exporting", lambda: True)
        judged = network.judge(seen)
        monkeypatch.setattr("rebridge.networks.judging.exporting", exporting)
        assert float(before[0, HAZE] - judged[0, HAZE]) == pytest.approx(less, abs=1e-5)
        assert float(before[0, NOISE] - judged[0, NOISE]) == 0


@pytest.mark.parametrize("name", ["rdbm-small", "rdbm-tiny"])
def test_packaged_models_make_trials_of_haze(name: str) -> None:
    network = load_model(name).network
    assert isinstance(network, Careful)
    assert network.haze_trial is not None
    assert float(network.haze_trial.scale.min()) > 0
