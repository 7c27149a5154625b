"""What the further renderers promise: shape, range, repeatability, and the physics that each states."""

import math
from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw
from rebridge.degradations.camera import CameraNoise, Dim, Grain, Night, demosaic, soften
from rebridge.degradations.distance import DepthHaze
from rebridge.degradations.exposure import to_linear
from rebridge.degradations.flakes import ClumpedSnow, DrawnSnow
from rebridge.degradations.softness import Enlarged, Resaved, Softening, ellipse_kernel
from rebridge.degradations.streaks import DrawnRain, SmearedRain, TaperedRain, line_kernel

RENDERERS = (DrawnRain, SmearedRain, TaperedRain, DrawnSnow, ClumpedSnow, DepthHaze, CameraNoise, Grain, Night, Dim)
SOFT = (Softening, Enlarged, Resaved)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * math.log10(float((a - b).square().mean()) + 1e-12)


def moments(kernel: Tensor) -> tuple[float, float]:
    """Variances of a kernel along y and along x."""
    axis = torch.arange(len(kernel), dtype=torch.float64) - len(kernel) // 2
    rows, columns = kernel.double().sum(1), kernel.double().sum(0)
    return float((rows * axis**2).sum()), float((columns * axis**2).sum())


@given(
    make=st.sampled_from(RENDERERS + SOFT),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    level=st.sampled_from(["random", "black", "white"]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=250, deadline=None)
def test_shape_and_range_are_kept(
    make: type[Degradation], channels: int, height: int, width: int, level: str, seed: int
) -> None:
    x = {"random": torch.rand, "black": torch.zeros, "white": torch.ones}[level](2, channels, height, width)
    before = x.clone()
    y = make()(x, seeded(seed))
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    assert 0 <= y.min() <= y.max() <= 1
    assert torch.equal(x, before)
    assert torch.equal(y, make()(x, seeded(seed)))


@pytest.mark.parametrize("make", RENDERERS + SOFT)
def test_a_number_out_of_range_gives_one_sentence(make: type[Degradation]) -> None:
    name = next(field.name for field in fields(make) if field.init)
    with pytest.raises(ValueError, match=f"{name} must lie in"):
        make(**{name: -100.0})


@pytest.mark.parametrize(("length", "width", "angle"), [(30.0, 0.8, 0.0), (17.0, 1.5, 0.0), (24.0, 0.6, math.pi / 2)])
def test_a_streak_is_a_box_along_and_a_gaussian_across(length: float, width: float, angle: float) -> None:
    kernel = line_kernel(length, width, angle)
    along, across = moments(kernel) if angle == 0 else moments(kernel)[::-1]
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert along == pytest.approx(length**2 / 12, rel=0.03)
    assert across == pytest.approx(width**2, rel=0.1)


def test_smeared_rain_is_alike_along_its_direction_and_not_across() -> None:
    x = torch.zeros(1, 3, 128, 128)
    y = SmearedRain(angle=0.0, length=40.0, veil=0.0)(x, seeded(3))[0, 0]
    y = y - y.mean()
    along, across = float((y[5:] * y[:-5]).mean()), float((y[:, 5:] * y[:, :-5]).mean())
    assert along > 0.6 * float(y.square().mean())
    assert across < 0.4 * float(y.square().mean())


def test_a_tapered_drop_is_brightest_in_its_middle_and_along_its_direction() -> None:
    even, fading = (
        TaperedRain(density=0.0004, length=40.0, width=0.7, taper=taper, angle=0.0, spread=0.0).layer(
            400, 400, 0.0, Draw(8)
        )
        for taper in (0.0, 4.0)
    )
    assert float(even.diff(dim=0).abs().sum()) < 0.3 * float(even.diff(dim=1).abs().sum())
    # the same drops: what fades along sin^4 is as bright in the middle, and keeps the mean of sin^4, 3/8, of the light
    assert float(fading.sum() / even.sum()) == pytest.approx(3 / 8, rel=0.05)
    assert float(fading.max()) == pytest.approx(float(even.max()), rel=0.2)


@pytest.mark.parametrize("make", [DrawnRain, SmearedRain, TaperedRain, DrawnSnow, ClumpedSnow])
def test_light_in_the_air_never_darkens_a_dark_picture(make: type[Degradation]) -> None:
    x = 0.4 * torch.rand(4, 3, 64, 64, generator=seeded(1))
    assert (make()(x, seeded(2)) >= x - 1e-6).all()


@pytest.mark.parametrize("make", [DrawnRain, SmearedRain, TaperedRain, DrawnSnow, ClumpedSnow])
def test_without_opacity_and_veil_nothing_is_seen(make: type[Degradation]) -> None:
    clear: dict[str, Any] = {"opacity": 0.0, "veil": 0.0}
    x = torch.rand(2, 3, 40, 50, generator=seeded(1))
    assert torch.equal(make(**clear)(x, seeded(2)), x)


def test_depth_haze_is_a_mean_of_picture_and_air_that_thins_out_with_beta() -> None:
    black, white = torch.zeros(1, 3, 60, 80), torch.ones(1, 3, 60, 80)
    haze = DepthHaze(beta=1.0, airlight=0.8, tint=0.0)
    dark = haze.degrade(black[0], Draw(4))
    # With y = t x + (1 - t) A, A = 0.8 and the same depth, black and white differ by t and black shows (1 - t) A.
    even = DepthHaze(beta=1.0, airlight=0.8, tint=0.0, even=1.0)
    transmission = even.degrade(white[0], Draw(4)) - even.degrade(black[0], Draw(4))
    torch.testing.assert_close(transmission, torch.full_like(transmission, math.exp(-1)))
    assert (dark >= 0).all()
    assert (dark <= 0.8).all()
    assert torch.equal(DepthHaze(beta=0.0).degrade(white[0], Draw(4)), white[0])


def test_depth_jumps_where_objects_end() -> None:
    x = torch.rand(3, 96, 96, generator=seeded(1))
    steps = [float(DepthHaze(objects=9.0).depth(x, Draw(seed)).diff(dim=1).abs().max()) for seed in range(8)]
    smooth = [float(DepthHaze(objects=0.0).depth(0 * x, Draw(seed)).diff(dim=1).abs().max()) for seed in range(8)]
    assert sum(steps) > 2 * sum(smooth)


def test_demosaicing_keeps_constants_and_averages_the_noise_of_neighbours() -> None:
    for phase in range(4):
        torch.testing.assert_close(demosaic(torch.ones(3, 12, 14), phase), torch.ones(3, 12, 14))
    noise = demosaic(torch.randn(3, 512, 512, generator=seeded(0)), 0)[:, 2:-2, 2:-2]
    # A quarter of the red sites is measured (variance 1), half are means of two, a quarter of four.
    red, green, blue = noise.var((1, 2)).tolist()
    assert red == pytest.approx(0.25 + 0.25 + 0.0625, rel=0.03)
    assert green == pytest.approx(0.5 + 0.125, rel=0.03)
    assert blue == pytest.approx(0.5625, rel=0.03)


@pytest.mark.parametrize("phase", range(4))
def test_each_pixel_of_a_bayer_sensor_measures_one_colour_and_half_of_them_green(phase: int) -> None:
    noise = torch.randn(3, 16, 20, generator=seeded(phase))
    measured = demosaic(noise, phase) == noise
    assert (measured.sum(0) == 1).all()
    assert measured.flatten(1).double().mean(1).tolist() == [0.25, 0.5, 0.25]
    assert torch.equal(measured[0, :-1, :-1], measured[2, 1:, 1:])
    assert not (measured[0].any(1) & measured[2].any(1)).any()


def test_softened_noise_keeps_its_deviation_and_is_correlated() -> None:
    noise = torch.randn(3, 200, 200, generator=seeded(0))
    soft = soften(noise, 1.2)
    assert float(soft.std()) == pytest.approx(float(noise.std()), rel=1e-3)
    # Two pixels d apart of noise blurred by a Gaussian of deviation s correlate by exp(-d^2 / (4 s^2)).
    near = float((soft[..., 1:] * soft[..., :-1]).mean() / soft.square().mean())
    assert near == pytest.approx(math.exp(-1 / (4 * 1.2**2)), abs=0.02)


def test_photon_noise_has_the_variance_of_its_light() -> None:
    light = torch.full((3, 300, 300), 0.3)
    plain = CameraNoise(full_well=1000.0, read_noise=0.01, demosaiced=0.0, smoothing=0.0, chroma=0.0)
    noise = plain.noise(light, Draw(1))
    assert float(noise.var()) == pytest.approx(0.3 / 1000 + 0.01**2, rel=0.02)
    assert abs(float(noise.mean())) < 2e-4


def test_a_night_without_noise_scales_linear_light() -> None:
    x = 0.1 + 0.9 * torch.rand(3, 20, 20, generator=seeded(1))
    y = Night(exposure=0.2, cast=0.0, gamma=1.0, noiseless=1.0).degrade(x, Draw(1))
    torch.testing.assert_close(to_linear(y), 0.2 * to_linear(x), rtol=1e-3, atol=1e-5)


def test_dim_is_a_power_law() -> None:
    x = torch.rand(3, 20, 20, generator=seeded(1))
    torch.testing.assert_close(Dim(scale=0.6, gamma=2.2, cast=0.0).degrade(x, Draw(1)), 0.6 * x**2.2)


@pytest.mark.parametrize(("long", "short"), [(2.0, 2.0), (3.0, 1.0)])
def test_a_gaussian_kernel_has_its_variances_along_its_axes(long: float, short: float) -> None:
    down, across = moments(ellipse_kernel(long, short, 0.0))
    assert across == pytest.approx(long**2, rel=0.04)
    assert down == pytest.approx(short**2, rel=0.04)


@pytest.mark.parametrize("make", [Softening, Enlarged])
def test_blur_keeps_even_pictures_and_takes_detail(make: type[Degradation]) -> None:
    even = torch.full((1, 3, 40, 40), 0.3)
    torch.testing.assert_close(make()(even, seeded(1)), even, rtol=0, atol=1e-5)
    noise = torch.rand(1, 3, 64, 64, generator=seeded(2))
    assert make()(noise, seeded(1)).var() < 0.6 * noise.var()


def test_lower_quality_and_saving_twice_cost_more() -> None:
    rows = torch.linspace(0, 6.28, 96)
    x = (0.5 + 0.4 * torch.sin(rows[:, None] * 3) * torch.sin(rows[None] * 5)).expand(1, 3, -1, -1).contiguous()
    errors = [psnr(Resaved(quality=float(quality), twice=0.0)(x, seeded(1)), x) for quality in (10, 30, 70)]
    assert errors == sorted(errors)
    twice = [psnr(Resaved(quality=20.0, twice=1.0)(x, seeded(seed)), x) for seed in range(6)]
    once = [psnr(Resaved(quality=20.0, twice=0.0)(x, seeded(seed)), x) for seed in range(6)]
    assert sum(twice) < sum(once)
