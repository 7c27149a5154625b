"""How much of what a walk adds to its first estimate is kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.samplers.texture import blurred, raised

BRIDGE = bridges.create("goub")


def towards_half(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """A denoiser whose estimate depends on the state, so that every walk ends elsewhere."""
    return 0.5 * y + 0.3 * x_t


def walk(texture: float, steps: int = 6) -> Tensor:
    y = torch.linspace(0.1, 0.9, 12, dtype=torch.float64).reshape(1, 3, 2, 2)
    sampler = samplers.create("dbim", steps=steps, eta=0.5, start="noise", texture=texture)
    return sampler(BRIDGE, towards_half, y, generator=torch.Generator().manual_seed(5))


def test_without_texture_the_result_is_the_first_estimate() -> None:
    torch.testing.assert_close(walk(0.0), walk(1.0, steps=1), rtol=0, atol=1e-12)
    assert (walk(1.0) - walk(0.0)).abs().max() > 1e-2


def test_half_of_it_lies_half_way_to_the_sample() -> None:
    torch.testing.assert_close(walk(0.5), (walk(0.0) + walk(1.0)) / 2, rtol=0, atol=1e-12)


def test_error_of_a_sample_falls_with_the_square_of_its_texture() -> None:
    """The exact posterior of a Gaussian: N(0, 1) images seen through noise; samples of it lie around its mean."""
    bridge = bridges.create("vp")
    x0 = torch.randn(4000, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def exact(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        c = bridge.coefficients(t).like(x_t)
        return c.alpha * x_t / (c.alpha.square() + c.gamma.square())

    errors = []
    for texture in (0.0, 0.5, 1.0):
        sampler = samplers.create("dbim", steps=200, eta=1.0, texture=texture)
        found = sampler(bridge, exact, torch.zeros_like(x0), generator=torch.Generator().manual_seed(2))
        errors.append(float((found - x0).square().mean()))
    added = [error - errors[0] for error in errors]
    assert added[1] == pytest.approx(added[2] / 4, rel=0.15)


@pytest.mark.parametrize("texture", [-0.1, 1.1])
def test_impossible_shares_are_refused(texture: float) -> None:
    with pytest.raises(ValueError, match="texture must lie in"):
        samplers.create("dbim", texture=texture)


def test_texture_stays_away_from_where_the_first_estimate_is_smooth() -> None:
    """Half of the picture is even, half a pattern; the walk adds the same noise to both."""
    pattern = torch.rand(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) - 0.5
    y = torch.cat([torch.full_like(pattern, 0.2), pattern], 3)

    def added(**params: float) -> tuple[float, float]:
        results = []
        for texture in (0.0, 0.8):
            sampler = samplers.create("dbim", steps=4, eta=1.0, start="noise", texture=texture, **params)
            noise = torch.Generator().manual_seed(5)
            results.append(sampler(bridges.create("rdbm", modulation="one"), mostly_y, y, generator=noise))
        change = (results[1] - results[0]).abs()
        return float(change[..., 8:24].mean()), float(change[..., 40:56].mean())

    even, textured = added()
    assert even == pytest.approx(textured, rel=0.2)
    even, textured = added(smooth=0.05)
    assert even < textured / 5


def mostly_y(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return y + 0.02 * torch.tanh(x_t - y)


@pytest.mark.parametrize("smooth", [-0.1, float("inf"), float("nan")])
def test_impossible_limits_of_smoothness_are_refused(smooth: float) -> None:
    with pytest.raises(ValueError, match="smooth"):
        samplers.create("dbim", smooth=smooth)


def noise(seed: int, std: float = 0.1) -> Tensor:
    return std * torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(seed))


def test_contrast_of_normal_detail_costs_what_optimal_transport_costs() -> None:
    """Of detail m + n only m is known; a sample m + n' is at 2 var n, and transport at var n + (|m + n| - |m|)^2."""
    known, truth, sample = noise(1), noise(1) + noise(2), noise(1) + noise(3)
    lifted = known + raised(known, sample, 3.0)
    power, error = float(lifted.var()), float((lifted - truth).square().mean())
    assert power == pytest.approx(0.02, rel=0.05)
    assert error == pytest.approx(0.01 + (0.02**0.5 - 0.1) ** 2, rel=0.05)
    assert float((sample - truth).square().mean()) == pytest.approx(0.02, rel=0.05)


def test_contrast_is_raised_by_the_factor_allowed_and_never_lowered() -> None:
    fine = noise(4) - blurred(noise(4), 2.8)
    torch.testing.assert_close(raised(noise(4), 10 * noise(4), 1.5), 0.5 * fine, rtol=1e-3, atol=1e-5)
    assert not raised(noise(4), 0.5 * noise(4), 1.5).any()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 4, 3, 50)])
def test_small_images_have_contrast_too(shape: tuple[int, ...]) -> None:
    assert torch.isfinite(raised(torch.rand(shape), torch.rand(shape), 2.0)).all()


def test_a_walk_gives_its_contrast_to_its_first_estimate() -> None:
    y = noise(6, 0.05)

    def run(texture: float, contrast: float) -> Tensor:
        sampler = samplers.create("dbim", steps=3, eta=1.0, start="noise", texture=texture, contrast=contrast)
        bridge = bridges.create("rdbm", modulation="one")
        return sampler(bridge, lambda x, t, y: 0.3 * y + 0.3 * x, y, generator=torch.Generator().manual_seed(7))

    first, sample = run(0.0, 1.0), run(1.0, 1.0)
    torch.testing.assert_close(run(0.4, 2.0), torch.lerp(first, sample, 0.4) + raised(first, sample, 2.0))


@pytest.mark.parametrize("contrast", [0.9, float("inf"), float("nan")])
def test_impossible_contrasts_are_refused(contrast: float) -> None:
    with pytest.raises(ValueError, match="contrast"):
        samplers.create("dbim", contrast=contrast)
