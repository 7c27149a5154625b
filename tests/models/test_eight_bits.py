"""Weights in eight bits: what is stored, what comes back, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from rebridge import bridges, networks
from rebridge.models import ModelError, TrainedModel, load_model
from rebridge.models.eight_bits import rounded, unrounded


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    made = networks.create("fast", widths=(16, 16), blocks=(1,), middle=1, embedding=8)
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.05)
    return made


def test_a_weight_comes_back_within_half_a_step_of_its_output() -> None:
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(24, 8, 3, 3, generator=draw) * torch.logspace(-6, 1, 24)[:, None, None, None]
    back = unrounded(rounded({"w": weight}))["w"]
    step = weight.abs().flatten(1).amax(1) / 127
    error = (back - weight).abs().flatten(1).amax(1)
    assert (error <= 0.51 * step).all()
    assert (error > 0.3 * step).all()  # no finer than eight bits


def test_what_a_file_holds_is_a_fixed_point() -> None:
    state = rounded({"w": torch.randn(40, 40)})
    again = rounded(unrounded(state))
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_outputs_of_zeros_and_of_tiny_numbers_stay_finite() -> None:
    weight = torch.zeros(3, 400)
    weight[1] = 1e-7
    weight[2, 0] = 3.0
    back = unrounded(rounded({"w": weight}))["w"]
    torch.testing.assert_close(back, weight, rtol=1e-5, atol=0)


def test_small_weights_counts_and_other_scales_are_left_as_they_are() -> None:
    state = {
        "bias": torch.randn(2000),
        "little": torch.randn(8, 8),
        "count": torch.arange(2000).view(40, 50),
        "verdict.scale": torch.randn(3),
        "bytes": torch.ones(40, 40, dtype=torch.int8),
    }
    stored = rounded(state)
    assert stored.keys() == state.keys()
    for key, value in unrounded(stored).items():
        assert torch.equal(value, state[key].half() if state[key].is_floating_point() else state[key])


def test_a_saved_model_is_a_quarter_as_large_and_computes_nearly_the_same(tmp_path: Path) -> None:
    model = TrainedModel.of(network(), bridges.create("rdbm"), "residual", sampler={"name": "dbim", "steps": 1})
    full = model.save_pretrained(tmp_path / "full") / "model.safetensors"
    small = model.save_pretrained(tmp_path / "small", dtype=torch.int8) / "model.safetensors"
    assert small.stat().st_size < 0.4 * full.stat().st_size
    kinds = {value.dtype for value in load_file(small).values()}
    assert kinds == {torch.int8, torch.float32, torch.float16}
    loaded = load_model(tmp_path / "small")
    assert isinstance(loaded, TrainedModel)
    assert {weight.dtype for weight in loaded.network.parameters()} == {torch.float32}
    x, y, t = torch.randn(1, 3, 24, 24), torch.randn(1, 3, 24, 24), torch.tensor([0.5])
    with torch.no_grad():
        exact, near = network().eval()(x, t, y), loaded.network(x, t, y)
    error = float((near - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    assert 1e-5 < error < 0.03
    saved_again = loaded.save_pretrained(tmp_path / "again", dtype=torch.int8) / "model.safetensors"
    assert saved_again.read_bytes() == small.read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    broken = network()
    with torch.no_grad():
        next(weight for weight in broken.parameters() if weight.numel() > 600).view(-1)[3] = value
    model = TrainedModel.of(broken, bridges.create("rdbm"), "residual", sampler={"name": "dbim", "steps": 1})
    with pytest.raises(ModelError, match="NaN or infinite"):
        model.save_pretrained(tmp_path / "m", dtype=torch.int8)
    assert not (tmp_path / "m").exists()
