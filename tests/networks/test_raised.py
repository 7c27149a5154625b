"""Noise that shows only when a dark picture is bright is taken out with the dark."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from rebridge import Restorer
from rebridge.models import load_model
from rebridge.networks.judging import RAISED
from rebridge.networks.kinds import KINDS, LOWLIGHT, NOISE
from tests.networks.waking import awake, named


def hearing(noise: float) -> Callable[[Any], Tensor]:
    """Make a judge that hears so much noise in all pictures."""

    def judge(seen: Any) -> Tensor:
        logits = torch.full((len(seen.levels), len(KINDS)), -9.0)
        logits[:, NOISE] = noise
        return logits

    return judge


def dark(batch: int) -> Tensor:
    return 0.3 * torch.rand(batch, 3, 48, 64, generator=torch.Generator().manual_seed(1)) - 1


@torch.no_grad()
def test_a_picture_that_is_noisy_when_bright_is_treated_for_noise_too(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y, t = awake(verdict=True, trial=True), dark(1), torch.ones(1)
    trial, network.trial = network.trial, None
    plain, both = (network(y, t, y, named(*kinds)) for kinds in (("lowlight",), ("lowlight", "noise")))
    network.trial = trial
    assert (plain - both).abs().max() > 1e-3
    for noise, expected in ((RAISED[1], both), (RAISED[0], plain)):
        monkeypatch.setattr(network, "judge", hearing(noise))
        torch.testing.assert_close(network(y, t, y, named("lowlight")), expected)


@torch.no_grad()
def test_pictures_of_a_batch_that_are_not_dark_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y = awake(verdict=True, trial=True), dark(4)
    monkeypatch.setattr(network, "judge", hearing(RAISED[1]))
    kinds = torch.cat([named("lowlight"), named("rain"), named("lowlight", "noise"), 0.5 * named("lowlight")])
    raised = network.raised_noise(y, network.look(y), kinds)
    assert raised.tolist() == [1.0, 0.0, 0.0, 1.0]
    monkeypatch.setattr(network, "judge", hearing(sum(RAISED) / 2))
    assert network.raised_noise(y, network.look(y), kinds).tolist() == [0.5, 0.0, 0.0, 0.5]
    treated = network._with_raised(y, network.look(y)._replace(raised=raised), kinds)
    assert treated[:, NOISE].tolist() == [1.0, 0.0, 1.0, 0.5]
    torch.testing.assert_close(treated[:, LOWLIGHT], kinds[:, LOWLIGHT])


@torch.no_grad()
def test_a_part_is_treated_as_the_whole_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y, t = awake(verdict=True, trial=True), dark(2), torch.ones(2)
    monkeypatch.setattr(network, "judge", hearing(RAISED[1]))
    seen = network.looking(y, named("lowlight").expand(2, -1))
    assert seen.raised is not None
    assert seen.raised.tolist() == [1.0, 1.0]
    tile = y[..., 16:, 16:].contiguous()
    told = named("lowlight").expand(2, -1)
    noisy = network(tile, t, tile, told, 1.0, seen)
    monkeypatch.setattr(network, "judge", hearing(-9.0))  # of the part alone
    torch.testing.assert_close(network(tile, t, tile, told, 1.0, seen), noisy)
    calm = network(tile, t, tile, told, 1.0, seen._replace(raised=torch.zeros(2)))
    assert (calm - noisy).abs().max() > 1e-3


def fine(picture: Tensor) -> float:
    """Deviation from the surroundings."""
    return float((picture - F.avg_pool2d(picture, 3, 1, 1, count_include_pad=False)).std())


def test_a_dark_and_grainy_photograph_comes_out_bright_and_calm() -> None:
    model: Any = load_model("rdbm-small", device="cpu")
    y, x = torch.meshgrid(torch.arange(160) / 9.0, torch.arange(320) / 13.0, indexing="ij")
    scene = (0.5 + 0.3 * torch.sin(x) * torch.cos(y) + torch.tensor([0.05, 0.0, -0.05])[:, None, None]).clamp(0, 1)
    photons = torch.poisson(0.08 * 300 * scene.double() ** 2.2, torch.Generator().manual_seed(5))
    night = ((photons / 300).pow(1 / 2.2) * 255).round()[None].float() / 255
    restore = Restorer(model.treating(["lowlight"]))
    bright = restore(night, tile=0)
    assert bright.mean() > 2 * night.mean()
    tiled = restore(night, tile=2 * model.info.context + 64)
    assert 255 * (tiled - bright).abs().max() < 4
    model.network.trial = None  # then nothing is looked at twice
    assert fine(bright) < 0.9 * fine(restore(night, tile=0))
