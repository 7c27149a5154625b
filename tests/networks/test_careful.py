"""What the careful network promises: it leaves alone what is not ill, obeys the user, and undoes haze by its formula."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rebridge import bridges, networks
from rebridge.denoisers import NetworkDenoiser
from rebridge.models import TrainedModel, load_model
from rebridge.networks.careful import KINDS, Careful
from rebridge.networks.impressions import impression
from rebridge.networks.toning import guided

SMALL = {"widths": [8, 12, 16], "blocks": [1, 1], "middle": 1, "features": 16}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def awake(**params: object) -> Careful:
    """A small network without the zeros that it begins with, in eval mode."""
    network = networks.create("careful", **(SMALL | params))
    assert isinstance(network, Careful)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.where(parameter == 0, 0.05 * torch.randn_like(parameter), torch.zeros(())))
    return network.eval()


AWAKE = awake()


def pictures(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    return 2 * torch.rand(batch, 3, height, width) - 1, torch.ones(batch)


def kinds(*named: str, batch: int = 1) -> Tensor:
    return torch.tensor([[float(kind in named) for kind in KINDS]] * batch)


@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 50), width=st.integers(1, 50), batch=st.integers(1, 2))
def test_any_size_is_kept(height: int, width: int, batch: int) -> None:
    y, t = pictures(batch, height, width)
    with torch.no_grad():
        out = AWAKE(y, t, y, kinds(*KINDS, batch=batch))
    assert out.shape == y.shape
    assert out.isfinite().all()


def test_where_nothing_is_found_nothing_changes_bit_for_bit() -> None:
    y, t = pictures(2, 40, 56)
    network = awake()
    network.low.fill_(1.1)
    network.high.fill_(1.2)
    with torch.no_grad():
        assert not network(y, t, y).any()
        assert not network(y, t, y, kinds(batch=2)).any()
        assert network(y, t, y, kinds("rain", batch=2)).any()


def test_each_picture_of_a_batch_is_treated_as_if_alone() -> None:
    y, t = pictures(3, 33, 48)
    given_kinds = torch.cat([kinds("haze"), kinds(), kinds("blur", "noise")])
    with torch.no_grad():
        together = AWAKE(y, t, y, given_kinds)
        alone = torch.cat([AWAKE(y[i : i + 1], t[:1], y[i : i + 1], given_kinds[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=2e-4)
    assert not together[1].any()


def test_a_probability_below_low_counts_nothing_and_above_high_counts_fully() -> None:
    network = awake()
    network.low.fill_(0.5)
    network.high.fill_(0.9)
    probabilities = torch.tensor([[0.1, 0.5, 0.7, 0.9, 0.99, 0.2, 0.6, 0.8]])
    expected = torch.tensor([[0.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.25, 0.75]])
    torch.testing.assert_close(network.decide(torch.logit(probabilities)), expected, rtol=0, atol=1e-5)


def test_the_user_decides_what_is_treated_and_how_strongly() -> None:
    y, t = pictures(1, 48, 48)
    with torch.no_grad():
        whole = AWAKE.treating(["noise"])(y, t, y)
        half = AWAKE.treating(["noise"], strength=0.5)(y, t, y)
        other = AWAKE.treating(["snow"])(y, t, y)
    torch.testing.assert_close(whole, AWAKE(y, t, y, kinds("noise")))
    torch.testing.assert_close(half, 0.5 * whole)
    assert (whole - other).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("named", "strength", "sentence"),
    [
        (["fog"], 1.0, "kinds must be some of rain, haze, .* got fog"),
        ([], 1.0, "kinds must be some of rain, haze, .* got none"),
        (["rain"], 1.5, r"strength must lie in \[0, 1\], got 1.5"),
    ],
)
def test_an_impossible_wish_gives_one_sentence(named: list[str], strength: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        AWAKE.treating(named, strength)


def test_parts_of_a_picture_are_judged_alike_when_the_whole_was_looked_at() -> None:
    y, _ = pictures(1, 64, 64)
    y[..., :32] *= 0.1
    with torch.no_grad():
        seen = AWAKE.look(y)
        left, right = y[..., :32].contiguous(), y[..., 32:].contiguous()
        alone = [AWAKE.examiner.logits(AWAKE.look(part)) for part in (left, right)]
        assert (alone[0] - alone[1]).abs().max() > 1e-4
        torch.testing.assert_close(AWAKE.examiner.logits(seen).sigmoid(), AWAKE.examine(y))
        # With the look at the whole, the decision for a part is that for the whole.
        part = AWAKE(left, torch.ones(1), left, None, 1.0, seen)
        expected = AWAKE(left, torch.ones(1), left, AWAKE.decide(AWAKE.examiner.logits(seen)), 1.0, seen)
        torch.testing.assert_close(part, expected)


def test_trust_teaches_nothing_but_itself() -> None:
    network = awake()
    y, _ = pictures(1, 32, 32)
    features = network.examiner(y)
    network.mend(y, features, impression(y, features), kinds("rain")).trust.sum().backward()
    assert all(parameter.grad is None for parameter in network.trunk.parameters())
    assert all(parameter.grad is not None for parameter in network.trust.parameters())


def test_gradients_reach_all_parameters() -> None:
    network = awake().train()
    y, _ = pictures(2, 64, 64)
    features = network.examiner(y)
    seen = impression(y, features)
    parts = network.mend(y, features, seen, kinds(*KINDS, batch=2))
    (parts.whole.square().mean() + parts.trust.mean() + network.examiner.logits(seen).square().mean()).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


def test_known_air_and_depth_are_taken_out_exactly() -> None:
    network = networks.create("careful", **SMALL)
    assert isinstance(network, Careful)
    clean = 0.2 + 0.5 * torch.rand(1, 3, 64, 64)
    clean[..., :32, :] = 0.9  # a large bright place, so that the brightest level is the air
    network.tone.share.bias.data.fill_(-30.0)  # nothing of the dark channel prior
    air, depth = 0.9, 0.1  # what an untrained network takes the depth to be, everywhere
    hazy = air + math.exp(-depth) * (clean - air)
    y = 2 * hazy - 1
    features = network.examiner(y)
    toned = network.tone(y, features, impression(y, features), torch.ones(1), torch.zeros(1))
    torch.testing.assert_close((toned + 1) / 2, clean, rtol=0, atol=2e-3)


def test_exposure_is_untouched_where_there_is_no_darkness_to_treat() -> None:
    y, _ = pictures(2, 32, 32)
    features = AWAKE.examiner(y)
    seen = impression(y, features)
    none = torch.zeros(2)
    assert torch.equal(AWAKE.tone(y, features, seen, none, none), y)
    toned = AWAKE.tone(y, features, seen, none, torch.tensor([1.0, 0.0]))
    assert torch.equal(toned[1], y[1])
    assert (toned[0] - y[0]).abs().max() > 1e-4


def test_a_guided_map_has_its_edges_where_the_picture_has_them() -> None:
    coarse = torch.zeros(1, 1, 16, 16)
    coarse[..., 8:] = 1.0
    fine = torch.zeros(1, 1, 128, 128)
    fine[..., 64:] = 0.7
    truth = (fine > 0.1).float()
    plain = F.interpolate(coarse, scale_factor=8.0, mode="bilinear")
    result = guided(coarse, F.avg_pool2d(fine, 8), fine)
    assert (result - truth).square().mean() < 0.2 * (plain - truth).square().mean()
    constant = torch.full((1, 1, 4, 4), 0.4)
    torch.testing.assert_close(
        guided(constant, torch.rand(1, 1, 4, 4), torch.rand(1, 1, 32, 32)), torch.full((1, 1, 32, 32), 0.4)
    )


def test_it_is_saved_and_loaded_with_its_thresholds_and_walks_a_bridge_to_the_same_end(tmp_path: Path) -> None:
    network = awake()
    network.low.fill_(0.01)
    network.high.fill_(0.02)
    bridge = bridges.create("rdbm", lam=1e-4)
    sampler = {"name": "dbim", "steps": 1, "start": "mean"}
    TrainedModel.of(network, bridge, "blend", sampler=sampler, tasks=KINDS).save_pretrained(tmp_path / "m")
    model = load_model(tmp_path / "m")
    assert isinstance(model, TrainedModel)
    assert torch.equal(model.network.get_buffer("low"), network.low)
    y, t = pictures(1, 32, 32)
    with torch.no_grad():
        once: Any = model.denoiser(y, t, y)
    direct = (y + network(y, t, y)).clamp(-1, 1)
    torch.testing.assert_close(once, direct)
    assert isinstance(model.denoiser, NetworkDenoiser)


def test_widths_and_blocks_must_fit() -> None:
    with pytest.raises(ValueError, match="blocks must have one entry less than widths, got 3 and 3"):
        networks.create("careful", widths=[8, 8, 8], blocks=[1, 1, 1])


def test_what_is_half_sure_is_half_done_at_most() -> None:
    y, t = pictures(1, 48, 48)
    with torch.no_grad():
        faint = AWAKE(y, t, y, 0.01 * kinds("noise")).abs().max()
        sure = AWAKE(y, t, y, kinds("noise")).abs().max()
    assert faint < 0.05 * sure


def test_a_black_object_in_haze_tells_how_much_of_it_there_is() -> None:
    network = networks.create("careful", **SMALL)
    assert isinstance(network, Careful)
    network.tone.share.bias.data.fill_(30.0)  # all of the dark channel prior
    assert network.tone.depth.bias is not None
    network.tone.depth.bias.data.fill_(-0.1)  # and nothing else
    clean = torch.zeros(1, 3, 64, 64)
    clean[..., :32, :] = 0.9
    hazy = 0.9 + math.exp(-0.7) * (clean - 0.9)
    y = 2 * hazy - 1
    features = network.examiner(y)
    toned = (network.tone(y, features, impression(y, features), torch.ones(1), torch.zeros(1)).detach() + 1) / 2
    # The prior leaves 6 % of the haze: x = A + (y - A) / (1 - 0.94 (1 - t)) for a black x.
    expected = 0.9 - 0.9 * math.exp(-0.7) / (1 - 0.94 * (1 - math.exp(-0.7)))
    assert float(toned[..., 50:, :].mean()) == pytest.approx(expected, abs=0.01)


def test_a_large_picture_is_seen_in_bands_as_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    y = pictures(1, 560, 64)[0]
    with torch.no_grad():
        whole = AWAKE.look(y)
        monkeypatch.setattr("rebridge.networks.judging.BAND", 64 * 96)
        bands = AWAKE.look(y)
    torch.testing.assert_close(bands.features, whole.features, rtol=1e-4, atol=1e-5)
    assert torch.equal(bands.levels, whole.levels)


def test_a_pale_but_dark_picture_is_not_called_hazy_by_the_packaged_model() -> None:
    """The same low contrast in bright and in dark air: what hangs in the dark is no veil of light."""
    network = load_model("rdbm-small").network
    assert isinstance(network, Careful)
    rows = torch.linspace(0, 1, 256)[:, None]
    pattern = F.interpolate(torch.rand(1, 3, 32, 32), size=256, mode="bilinear")
    veil = (0.45 + 0.5 * (1 - rows)).clamp(max=0.9)
    bright = pattern * (1 - veil) + 0.85 * veil
    dark = 0.45 * bright
    haze = KINDS.index("haze")
    said = [float(network.examine(2 * picture - 1)[0, haze].detach()) for picture in (bright, dark)]
    assert said[0] > 0.8
    assert said[1] <= 0.5
