"""Noise goes first where there is haze too, and haze is looked for again without it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import Restorer
from rebridge.models import load_model
from rebridge.networks.impressions import impression
from rebridge.networks.judging import Tried
from rebridge.networks.kinds import HAZE, KINDS, NOISE
from tests.networks.waking import awake, named


def pictures(batch: int) -> Tensor:
    return 2 * torch.rand(batch, 3, 48, 64, generator=torch.Generator().manual_seed(1)) - 1


@torch.no_grad()
def test_haze_is_taken_out_of_what_is_left_without_noise() -> None:
    network, y, t = awake(verdict=True, trial=True), pictures(1), torch.ones(1)
    features = network.examiner(y)
    clear = (y + network._change(y, features, impression(y, features), named("noise"))).clamp(-1, 1)
    seen = network.examiner(clear)
    expected = clear + network._change(clear, seen, impression(clear, seen), named("noise", "haze", "rain")) - y
    torch.testing.assert_close(network(y, t, y, named("noise", "haze", "rain")), expected)
    at_once = network._change(y, features, impression(y, features), named("noise", "haze", "rain"))
    assert (at_once - expected).abs().max() > 1e-3


@torch.no_grad()
def test_each_picture_of_a_batch_goes_its_own_way() -> None:
    network, y, t = awake(verdict=True, trial=True), pictures(4), torch.ones(4)
    kinds = torch.cat([named("noise", "haze"), named("noise"), named("haze", "snow"), named()])
    together = network(y, t, y, kinds)
    alone = [network(y[i : i + 1], t[:1], y[i : i + 1], kinds[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=2e-4)
    assert not together[3].any()


@torch.no_grad()
@pytest.mark.parametrize("sure", [True, False])
def test_a_look_without_noise_decides_on_haze(monkeypatch: pytest.MonkeyPatch, sure: bool) -> None:
    network, y = awake(verdict=True, trial=True), pictures(2)
    said = {True: (-1.0, 4.0, 5.0), False: (4.0, -5.0, 5.0)}[sure]  # haze before and after, noise
    looks: list[int] = []

    def judge(seen: Any) -> Tensor:
        logits = torch.full((len(seen.levels), len(KINDS)), -9.0)
        logits[:, HAZE] = said[1] if looks else said[0]
        logits[:, NOISE] = said[2]
        return logits if seen.judged is None else seen.judged

    def tried(picture: Tensor, kind: int, seen: Any) -> Tried:
        assert kind == NOISE
        looks.append(kind)
        return Tried(picture, torch.zeros_like(picture), seen)

    monkeypatch.setattr(network, "judge", judge)
    monkeypatch.setattr(network, "tried", tried)
    seen = network.look(y)
    assert len(looks) == 2
    assert seen.judged is not None
    assert ((seen.judged[:, HAZE] > 0) == sure).all()
    assert (network.decide(network.judge(seen))[:, HAZE] > 0).all() == sure


@torch.no_grad()
@pytest.mark.parametrize(("haze", "noise"), [(4.0, -9.0), (2.0, 2.5), (-9.0, 5.0)])
def test_a_picture_without_much_noise_or_far_from_haze_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch, haze: float, noise: float
) -> None:
    network, y = awake(verdict=True, trial=True), pictures(1)

    def judge(seen: Any) -> Tensor:
        logits = torch.full((1, len(KINDS)), -9.0)
        logits[:, HAZE], logits[:, NOISE] = haze, noise
        return logits

    monkeypatch.setattr(network, "judge", judge)
    monkeypatch.setattr(network, "tried", lambda *given: pytest.fail("looked again"))
    assert network.look(y).judged is not None


@torch.no_grad()
def test_tiles_of_several_pictures_are_toned_like_those_of_each_alone() -> None:
    network, y = awake(verdict=True, trial=True), pictures(3)
    kinds = torch.cat([named("noise", "haze"), named("haze"), named("noise")])
    together = network.looking(y, kinds)
    assert together.clear is not None
    for row in range(3):
        alone = network.looking(y[row : row + 1], kinds[row : row + 1])
        tile, t, told = y[row : row + 1, :, 16:, 16:].contiguous(), torch.ones(1), kinds[row : row + 1]
        expected = network(tile, t, tile, told, 1.0, alone)
        here = together.of(slice(row, row + 1))
        if row < 2:
            torch.testing.assert_close(here.depths, alone.depths, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(network(tile, t, tile, told, 1.0, here), expected, rtol=1e-3, atol=2e-4)


@torch.no_grad()
def test_parts_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y = awake(verdict=True, trial=True), pictures(1)
    seen = network.looking(y)
    assert seen.judged is not None
    torch.testing.assert_close(seen.judged, network.judge(network.look(y)))
    monkeypatch.setattr(network, "_heard", lambda *given: pytest.fail("judged again"))
    tile = y[..., 16:, 16:].contiguous()
    network(tile, torch.ones(1), tile, None, 1.0, seen)


@torch.no_grad()
def test_a_network_without_trials_treats_all_at_once_in_tiles_too() -> None:
    network, y = awake(verdict=True), pictures(1)
    seen = network.looking(y, named("noise", "haze"))
    assert seen.clear is None
    assert seen.depths is not None


@pytest.mark.parametrize("name", ["rdbm-tiny", "rdbm-small"])
def test_tiles_of_a_noisy_and_hazy_picture_are_those_of_the_whole(name: str) -> None:
    draw = torch.Generator().manual_seed(3)
    y, x = torch.meshgrid(torch.arange(200) / 7.0, torch.arange(500) / 11.0, indexing="ij")
    scene = (0.45 + 0.25 * torch.sin(x) * torch.cos(y) + torch.tensor([0.1, 0.0, -0.1])[:, None, None]).clamp(0, 1)
    hazy = 0.4 * scene + 0.6 * 0.85 + 0.06 * torch.randn(3, 200, 500, generator=draw)
    model: Any = load_model(name, device="cpu")
    restore = Restorer(model.treating(["haze", "noise"]))
    whole = restore(hazy.clamp(0, 1), tile=0)
    assert (whole - hazy).abs().mean() > 0.05
    difference = 255 * (restore(hazy.clamp(0, 1), tile=2 * model.info.context + 64) - whole).abs()
    assert difference.max() < 4  # what is left of the noise is raised with the contrast
    assert difference.mean() < 1
