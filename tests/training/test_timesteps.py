"""Times and states: how many samples of each kind, what they are, and that only the sample's number matters."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rebridge import bridges
from rebridge.training.config import StatesConfig
from rebridge.training.timesteps import (
    draw_states,
    drop_conditions,
    kind_of,
    rollout_states,
    times_of_noise,
    times_of_weight,
)

X0 = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def of_y(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A denoiser whose estimate depends on the condition only."""
    return 0.5 * y


def no_call(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    raise AssertionError("the network must not be called")


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 10_000))
def test_kinds_keep_their_shares_in_any_stretch_of_the_run(end: float, own: float, first: int) -> None:
    plan = StatesConfig(end_fraction=end, rollout_fraction=own)
    kinds = [kind_of(index, plan) for index in range(first, first + 200)]
    assert abs(kinds.count("end") - 200 * end) <= 1
    assert abs(kinds.count("rollout") - (200 - kinds.count("end")) * own) <= 1


def test_end_samples_are_the_degraded_image_and_bridge_samples_follow_the_forward_formula() -> None:
    bridge = bridges.create("rdbm")
    plan = StatesConfig(end_fraction=0.5, rollout_fraction=0.0)
    states = draw_states(bridge, no_call, X0, Y, first=0, seed=3, plan=plan)
    end = states.t == 1
    assert end.sum() == 4
    assert torch.equal(states.x_t[end], Y[end])
    c = bridge.coefficients(states.t).like(X0)
    noise = (states.x_t - c.alpha * X0 - c.beta * Y)[~end] / (c.gamma * (X0 - Y))[~end]
    assert noise.mean().abs() < 4 * noise.numel() ** -0.5
    assert 0.8 < noise.std() < 1.2


@pytest.mark.parametrize("leave", ["mean", "noise"])
def test_a_rollout_of_one_step_is_the_bridge_around_the_network_s_estimate(leave: str) -> None:
    bridge = bridges.create("rdbm")
    t, noise = torch.linspace(0.1, 0.9, 8, dtype=torch.float64), torch.randn(8, 3, 4, 4)
    x_t = rollout_states(bridge, of_y, Y, t, noise, leave)
    expected = bridge.forward(0.5 * Y, Y, t, noise if leave == "noise" else torch.zeros_like(noise))
    torch.testing.assert_close(x_t, expected)


@pytest.mark.parametrize("name", ["rdbm", "goub", "rddm", "flow", "ir-sde"])
def test_a_rollout_of_several_steps_with_a_constant_estimate_stay_on_its_path(name: str) -> None:
    bridge = bridges.create(name)
    t, noise = torch.full((8,), 0.3, dtype=torch.float64), torch.randn(8, 3, 4, 4)
    one, many = (rollout_states(bridge, of_y, Y, t, noise, "noise", steps) for steps in (1, 4))
    torch.testing.assert_close(one, many, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_a_rollout_asks_the_network_at_equal_steps_from_the_end(steps: int) -> None:
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    asked: list[Tensor] = []

    def asking(x_t: Tensor, now: Tensor, y: Tensor) -> Tensor:
        asked.append(now)
        return 0.5 * y

    rollout_states(bridges.create("rdbm"), asking, Y[:2], t, torch.randn(2, 3, 4, 4), "mean", steps)
    expected = [1 - (1 - t) * step / steps for step in range(steps)]
    torch.testing.assert_close(torch.stack(asked), torch.stack(expected))


def test_estimates_beyond_the_range_count_as_its_limits_in_a_rollout() -> None:
    bridge = bridges.create("goub")
    t, noise = torch.full((8,), 0.4, dtype=torch.float64), torch.randn(8, 3, 4, 4)
    low, high = bridge.value_range

    def states(estimate: float) -> Tensor:
        return rollout_states(bridge, lambda x, s, y: torch.full_like(y, estimate), Y, t, noise, "noise", 2)

    assert torch.equal(states(9.0), states(high))
    assert torch.equal(states(-9.0), states(low))


def test_times_and_noise_are_those_of_the_run() -> None:
    """Two runs of different seeds have different noise, not only different times; the same seed has the same of both."""
    bridge, plan = bridges.create("goub"), StatesConfig(end_fraction=0.0)

    def drawn(seed: int) -> tuple[Tensor, Tensor]:
        states = draw_states(bridge, no_call, X0, Y, first=5, seed=seed, plan=plan)
        c = bridge.coefficients(states.t).like(X0)
        return states.t, (states.x_t - c.alpha * X0 - c.beta * Y) / c.gamma

    (times, noise), (again, same), (other, others) = drawn(3), drawn(3), drawn(4)
    assert torch.equal(times, again)
    assert torch.equal(noise, same)
    assert (times - other).abs().min() > 1e-4
    assert (noise - others).abs().mean() > 0.5
    assert torch.corrcoef(torch.stack([noise.flatten(), others.flatten()]))[0, 1].abs() < 0.3


def test_a_perfect_network_reaches_the_states_of_the_forward_formula() -> None:
    bridge = bridges.create("goub")
    t, noise = torch.full((8,), 0.5, dtype=torch.float64), torch.randn(8, 3, 4, 4)
    x_t = rollout_states(bridge, lambda x, s, y: X0, Y, t, noise, "noise")
    torch.testing.assert_close(x_t, bridge.forward(X0, Y, t, noise))


def test_states_do_not_depend_on_how_samples_are_batched() -> None:
    bridge = bridges.create("rdbm")
    plan = StatesConfig(end_fraction=0.3, rollout_fraction=0.4)
    whole = draw_states(bridge, of_y, X0, Y, first=10, seed=3, plan=plan)
    parts = [draw_states(bridge, of_y, X0[i : i + 2], Y[i : i + 2], 10 + i, 3, plan) for i in range(0, 8, 2)]
    assert torch.equal(whole.t, torch.cat([part.t for part in parts]))
    torch.testing.assert_close(whole.x_t, torch.cat([part.x_t for part in parts]))


def test_grid_times_are_the_inner_nodes_of_the_sampler() -> None:
    plan = StatesConfig(end_fraction=0.0, times="grid", grid=4)
    bridge = bridges.create("rdbm")
    times = torch.cat([draw_states(bridge, no_call, X0, Y, first, 0, plan).t for first in range(0, 80, 8)])
    assert set(times.tolist()) == {0.25, 0.5, 0.75}


def test_rollouts_carry_no_gradient() -> None:
    weight = torch.ones((), requires_grad=True)
    bridge = bridges.create("rdbm")
    plan = StatesConfig(end_fraction=0.0, rollout_fraction=1.0)
    assert not draw_states(bridge, lambda x, t, y: weight * y, X0, Y, 0, 0, plan).x_t.requires_grad


def test_conditions_are_dropped_whole_in_the_share_asked_for_and_by_number_only() -> None:
    y = torch.rand(500, 1, 2, 2) + 0.1
    dropped = drop_conditions(y, first=100, seed=3, fraction=0.2)
    gone = (dropped == 0).flatten(1).all(1)
    assert torch.equal(dropped[~gone], y[~gone])
    assert 0.14 < gone.double().mean() < 0.26
    assert torch.equal(drop_conditions(y[:50], first=150, seed=3, fraction=0.2) == 0, (dropped == 0)[50:100])
    assert drop_conditions(y, first=0, seed=0, fraction=0.0) is y


def test_pairs_used_again_come_at_self_generated_states_and_leave_the_others_as_they_were() -> None:
    bridge = bridges.create("rdbm")
    plain = StatesConfig(end_fraction=1.0)
    again = StatesConfig(end_fraction=1.0, rollout_again=0.5)
    before = draw_states(bridge, no_call, X0, Y, first=4, seed=3, plan=plain)
    states = draw_states(bridge, of_y, X0, Y, first=4, seed=3, plan=again)
    assert states.rows.tolist() == [*range(8), 1, 3, 5, 7]
    assert torch.equal(states.x_t[:8], before.x_t)
    assert (states.t[8:] < 1).all()
    c = bridge.coefficients(states.t[8:]).like(Y)
    torch.testing.assert_close(states.x_t[8:], (0.5 * c.alpha + c.beta) * Y[states.rows[8:]])


@pytest.mark.parametrize("name", ["rdbm", "goub", "ir-sde", "vp", "brownian"])
def test_times_of_weight_are_uniform_in_what_is_left_to_the_network(name: str) -> None:
    bridge = bridges.create(name)
    share = torch.linspace(0.01, 0.98, 20, dtype=torch.float64)
    c = bridge.coefficients(times_of_weight(bridge, share))
    end = bridge.coefficients(1.0)
    most = float(end.gamma / (end.alpha**2 + end.gamma**2).sqrt()) if end.alpha > 0 else 1.0
    left = c.gamma / (c.alpha.square() + c.gamma.square()).sqrt()
    torch.testing.assert_close(left / most, share, rtol=0, atol=0.02)


@pytest.mark.parametrize(("name", "width"), [("vp", 2.0), ("ve", 2.0), ("rectified-flow", 2.0)])
def test_the_time_of_a_noise_level_is_where_the_image_bears_noise_of_so_many_of_255(name: str, width: float) -> None:
    bridge = bridges.create(name)
    low, high = bridge.value_range
    assert high - low == width
    levels = torch.tensor([2.0, 5.0, 25.0, 100.0], dtype=torch.float64)
    c = bridge.coefficients(times_of_noise(bridge, levels))
    torch.testing.assert_close(255 / width * c.gamma / c.alpha, levels, rtol=2e-2, atol=0)


def test_log_noise_spends_as_many_samples_between_5_and_10_as_between_50_and_100() -> None:
    bridge = bridges.create("vp")
    plan = StatesConfig(end_fraction=0.0, times="log-noise", noise=(2.0, 120.0))
    batches = [draw_states(bridge, no_call, X0, 0 * Y, 8 * index, 5, plan).t for index in range(250)]
    c = bridge.coefficients(torch.cat(batches))
    levels = 127.5 * c.gamma / c.alpha
    assert levels.min() > 1.9
    assert levels.max() > 1000
    assert abs((levels > 120).double().mean() - 0.125) < 0.03
    fine, coarse = (((levels > low) & (levels < 2 * low)).double().mean() for low in (5, 50))
    expected = 0.875 * math.log(2) / math.log(60)
    assert abs(fine - expected) < 0.04
    assert abs(coarse - expected) < 0.04


def test_noise_levels_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="the least level comes first, got 50 and 5"):
        StatesConfig(times="log-noise", noise=(50.0, 5.0))
