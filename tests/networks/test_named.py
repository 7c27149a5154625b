"""What is named is trusted where it lies on all of a picture, and nothing is computed that does not matter for it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import degradations
from rebridge.images import read_image
from rebridge.models import load_model
from rebridge.networks.careful import Careful
from rebridge.networks.impressions import Impression, impression
from rebridge.networks.kinds import FILTERED, KINDS
from tests.networks.waking import awake, named

T = torch.ones(1)


def picture(batch: int = 1) -> Tensor:
    return 2 * torch.rand(batch, 3, 48, 64, generator=torch.Generator().manual_seed(1)) - 1


def trusted(network: Careful, y: Tensor, kinds: Tensor) -> Tensor:
    """What becomes of pictures by themselves, with the share that is trusted."""
    features = network.examiner(y)
    return network.changed(y, features, impression(y, features), kinds)


@torch.no_grad()
@pytest.mark.parametrize("kinds", [("noise",), ("blur",), ("noise", "blur")])
def test_of_noise_and_blur_that_are_named_every_change_is_made(kinds: tuple[str, ...]) -> None:
    network, y = awake(verdict=True, trial=True), picture()
    sharper = network.sharper(y, named(*kinds))
    expected = network.trunk(y, y, sharper, named(*kinds))[0] + sharper
    torch.testing.assert_close(network(y, T, y, named(*kinds)), expected)
    assert (trusted(network, y, named(*kinds)) - expected).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("kinds", [("rain",), ("noise", "rain"), ("jpeg",)])
def test_other_kinds_are_trusted_place_by_place(kinds: tuple[str, ...]) -> None:
    network, y = awake(verdict=True, trial=True), picture()
    torch.testing.assert_close(network(y, T, y, named(*kinds)), trusted(network, y, named(*kinds)))


@torch.no_grad()
def test_nothing_is_looked_at_where_it_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y = awake(verdict=True, trial=True, haze_trial=True), picture()

    def looked(*given: Any) -> Tensor:
        raise AssertionError("the examiner was asked")

    monkeypatch.setattr(network.examiner, "forward", looked)
    monkeypatch.setattr(network.examiner, "near", looked)
    network(y, T, y, named("noise"))
    network.treating(["blur", "noise"]).seeing(y)(y, T, y)
    with pytest.raises(AssertionError, match="examiner"):
        network(y, T, y, named("jpeg"))


@torch.no_grad()
def test_a_picture_that_was_looked_at_before_comes_out_the_same() -> None:
    network, y = awake(verdict=True, trial=True), picture()
    seen = network.look(y)
    torch.testing.assert_close(network(y, T, y, named("noise"), 1.0, seen), network(y, T, y, named("noise")))


@torch.no_grad()
def test_who_asks_what_ails_a_picture_is_told_although_it_was_named() -> None:
    network, y = awake(verdict=True, trial=True), picture()
    told, treated = network.treating(["noise"]).seeing(y).diagnose(y)
    torch.testing.assert_close(told, network.judge(network.look(y, trial=False)).sigmoid())
    assert torch.equal(treated, named("noise"))


@torch.no_grad()
def test_pictures_of_a_batch_come_out_as_alone() -> None:
    network, y = awake(verdict=True, trial=True), picture(4)
    kinds = torch.cat([named("noise"), named("rain"), named("blur"), named()])
    strength = torch.tensor([1.0, 0.5, 0.25, 1.0]).view(-1, 1, 1, 1)
    together = network(y, T.expand(4), y, kinds, strength)
    alone = [network(y[i : i + 1], T, y[i : i + 1], kinds[i : i + 1], float(strength[i])) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=2e-4)
    assert not together[3].any()


@torch.no_grad()
def test_the_equaliser_is_asked_only_for_kinds_that_it_helps_with(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y = awake(), picture(8)
    assert network.equaliser is not None
    asked: list[int] = []
    made = network.equaliser.forward

    def watched(y: Tensor, heard: Tensor | None = None) -> Tensor:
        asked.append(len(y))
        return made(y, heard)

    monkeypatch.setattr(network.equaliser, "forward", watched)
    change = network.sharper(y, torch.eye(8))
    assert asked == [len(FILTERED)]
    assert [bool(one.any()) for one in change] == [kind in FILTERED for kind in range(len(KINDS))]
    for kind in FILTERED:
        torch.testing.assert_close(change[kind], (made(y[kind : kind + 1]) - y[kind])[0], rtol=1e-3, atol=1e-4)


def test_a_blank_impression_tells_nothing() -> None:
    y = picture(2)
    assert Impression.blank(y).is_blank
    features = awake().examiner(y)
    assert not impression(y, features).is_blank


@torch.no_grad()
@pytest.mark.parametrize("name", ["rdbm-small", "rdbm-tiny"])
@pytest.mark.parametrize("kind", [kind for place, kind in enumerate(KINDS) if place not in FILTERED])
def test_the_other_kinds_are_removed_as_well_without_the_equaliser(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_model(name).network
    assert isinstance(network, Careful)
    photo = read_image("examples/images/chelsea.jpg").pixels[None, :3]
    truth = torch.nn.functional.interpolate(photo, (160, 224), mode="bicubic", antialias=True).clamp(0, 1)
    y = 2 * degradations.create(kind)(truth, torch.Generator().manual_seed(0)) - 1

    def error() -> float:
        return float(((y + network(y, T, y, named(kind)) + 1) / 2 - truth).square().mean().log10())

    without = error()
    monkeypatch.setattr("rebridge.networks.careful.FILTERED", range(len(KINDS)))
    assert 10 * (without - error()) < 0.1
