"""What a network's output means: each prediction and its inverse, where it is singular, and what "blend" trusts."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rebridge import bridges
from rebridge.denoisers import NetworkDenoiser
from rebridge.denoisers.parameterization import PREDICTIONS, blind_at_end


class Says(nn.Module):
    """A network that always gives the same output, and remembers what it was asked."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        self.asked = x
        return self.output


def images(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0, y, noise = (torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    return x0, y, noise


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", ["rdbm", "goub", "ir-sde", "ddbm-vp", "i2sb", "resshift", "vp"])
@settings(deadline=None, max_examples=20)
@given(times=st.lists(st.floats(0.05, 0.95), min_size=4, max_size=4))
def test_a_network_that_says_its_target_gives_the_clean_image(name: str, prediction: str, times: list[float]) -> None:
    bridge = bridges.create(name)
    x0, y, noise = images()
    t = torch.tensor(times, dtype=torch.float64)
    x_t = bridge.forward(x0, y, t, noise)
    target = NetworkDenoiser(nn.Identity(), bridge, prediction).target(x0, y, x_t, t)
    denoiser = NetworkDenoiser(Says(target), bridge, prediction).train()
    torch.testing.assert_close(denoiser(x_t, t, y), x0, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["flow", "goub"])
@pytest.mark.parametrize("prediction", [p for p in PREDICTIONS if p not in ("noise", "scaled-difference")])
def test_without_noise_too_the_target_gives_the_clean_image(name: str, prediction: str) -> None:
    bridge = bridges.create(name, modulation="zero")
    x0, y, noise = images()
    t = torch.tensor([0.2, 0.5, 0.9, 1.0], dtype=torch.float64)
    x_t = bridge.forward(x0, y, t, noise)
    target = NetworkDenoiser(nn.Identity(), bridge, prediction).target(x0, y, x_t, t)
    assert target.abs().amin(dim=(1, 2, 3)).min() > 0
    denoiser = NetworkDenoiser(Says(target), bridge, prediction).train()
    torch.testing.assert_close(denoiser(x_t, t, y), x0, rtol=1e-8, atol=1e-8)


def test_the_velocity_of_flow_is_flow_matchings_target() -> None:
    bridge = bridges.create("flow")
    x0, y, noise = images()
    t = torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=torch.float64)
    denoiser = NetworkDenoiser(Says(y - x0), bridge, "velocity").train()
    x_t = bridge.forward(x0, y, t, noise)
    torch.testing.assert_close(denoiser.target(x0, y, x_t, t), y - x0)
    torch.testing.assert_close(denoiser(x_t, t, y), x0)


@pytest.mark.parametrize("name", bridges.names())
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_an_output_has_a_say_at_the_end_unless_it_is_said_to_have_none(name: str, prediction: str) -> None:
    bridge = bridges.create(name)
    try:
        denoiser = NetworkDenoiser(Says(torch.zeros(4, 3, 5, 5, requires_grad=True)), bridge, prediction).train()
    except ValueError:
        assert prediction in ("noise", "scaled-difference")
        return
    output: Any = denoiser.network.output
    _, y, _ = images()
    (gradient,) = torch.autograd.grad(denoiser(y, torch.ones(4), y).sum(), output)
    assert torch.isfinite(gradient).all()
    assert bool((gradient == 0).all()) == blind_at_end(prediction, bridge)


def test_difference_and_scaled_difference_are_those_of_bbdm_and_i2sb() -> None:
    x0, y, noise = images()
    t = torch.tensor([0.1, 0.4, 0.8, 1.0], dtype=torch.float64)
    bridge = bridges.create("i2sb")
    x_t = bridge.forward(x0, y, t, noise)
    betas = torch.linspace(1e-4**0.5, (0.3 / 1000) ** 0.5, 1000, dtype=torch.float64).square()[:500]
    forward = torch.cat([betas, betas.flip(0)]).cumsum(0).sqrt()
    index = (t * 999).floor().long().clamp(max=998)
    place = t * 999 - index
    std = (forward[index].square() * (1 - place) + forward[index + 1].square() * place).sqrt().view(-1, 1, 1, 1)
    found = NetworkDenoiser(nn.Identity(), bridge, "scaled-difference").target(x0, y, x_t, t)
    torch.testing.assert_close(found, (x_t - x0) / std)
    brownian = bridges.create("brownian")
    found = NetworkDenoiser(nn.Identity(), brownian, "difference").target(x0, y, x_t, t)
    torch.testing.assert_close(found, x_t - x0)


@pytest.mark.parametrize("prediction", ["residual", "preconditioned", "blend"])
@pytest.mark.parametrize("name", ["rdbm", "goub", "flow"])
def test_at_the_end_of_a_bridge_the_output_is_the_residual(name: str, prediction: str) -> None:
    bridge = bridges.create(name)
    x0, y, _ = images()
    denoiser = NetworkDenoiser(Says(x0 - y), bridge, prediction).train()
    torch.testing.assert_close(denoiser(y, torch.ones(4), y), x0)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_where_the_end_tells_nothing_the_estimate_is_the_degraded_image(prediction: str) -> None:
    _, y, _ = images()
    denoiser = NetworkDenoiser(Says(torch.zeros_like(y)), bridges.create("rdbm"), prediction)
    torch.testing.assert_close(denoiser.train()(y, torch.ones(4), y), y)


@pytest.mark.parametrize("lam", [1e-4, 10 / 255])
def test_an_estimate_carried_along_without_noise_comes_back_from_blend_as_it_was(lam: float) -> None:
    bridge = bridges.create("rdbm", lam=lam)
    estimate, y, _ = images()
    for time in (0.1, 0.5, 0.9, 0.99):
        t = torch.full((4,), time, dtype=torch.float64)
        c = bridge.coefficients(t).like(y)
        denoiser = NetworkDenoiser(Says(estimate - y), bridge, "blend").train()
        torch.testing.assert_close(denoiser(c.alpha * estimate + c.beta * y, t, y), estimate, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("prediction", "most"), [("preconditioned", 1.0), ("blend", 1.0 + 0.42)])
def test_input_and_target_keep_the_scale_of_the_residual_at_all_times(prediction: str, most: float) -> None:
    """Both are r times a standard normal combination; the target of blend is r (1 - k eps), k at most 1."""
    bridge = bridges.create("rdbm", lam=0.1)
    generator = torch.Generator().manual_seed(5)
    y = torch.zeros(4, 3, 64, 64, dtype=torch.float64)
    x0 = torch.ones_like(y)  # a residual of 1 everywhere, so that sizes are numbers
    noise = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    for time in (0.05, 0.5, 0.9, 0.98):
        t = torch.full((4,), time, dtype=torch.float64)
        x_t = bridge.forward(x0, y, t, noise)
        network = Says(torch.zeros_like(y))
        denoiser = NetworkDenoiser(network, bridge, prediction)
        denoiser.output(x_t, t, y)
        assert network.asked.square().mean().sqrt() == pytest.approx(1, abs=0.02)
        assert denoiser.target(x0, y, x_t, t).square().mean().sqrt() < most


def test_estimates_stay_in_the_range_when_restoring_and_not_in_training() -> None:
    bridge = bridges.create("rdbm")
    y = torch.full((1, 3, 2, 2), 0.9)
    denoiser = NetworkDenoiser(Says(torch.full_like(y, 0.5)), bridge, "residual")
    assert denoiser.eval()(y, torch.ones(1), y).max() == 1
    assert denoiser.train()(y, torch.ones(1), y).max() == pytest.approx(1.4)


def test_what_cannot_be_predicted_is_refused() -> None:
    with pytest.raises(ValueError, match="prediction must be one of x0, .*blend, got 'score'"):
        NetworkDenoiser(nn.Identity(), bridges.create("rdbm"), "score")
    with pytest.raises(ValueError, match="prediction 'noise' needs a bridge with noise"):
        NetworkDenoiser(nn.Identity(), bridges.create("flow"), "noise")
    with pytest.raises(ValueError, match="needs a bridge whose forward noise is finite, and that of 'rddm' is not"):
        NetworkDenoiser(nn.Identity(), bridges.create("rddm"), "scaled-difference")
