"""Each degradation obeys the equation it is named after."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from rebridge.degradations import create
from rebridge.degradations.base import Draw, draw_seeds
from rebridge.degradations.borders import mirror
from rebridge.degradations.exposure import LowLight, to_display, to_linear
from rebridge.degradations.fields import canvas, fast_size, smooth_field
from rebridge.degradations.optics import convolve, disc_kernel, gaussian_kernel, trajectory_kernel
from rebridge.degradations.raindrop import Drop, Raindrop
from rebridge.degradations.weather import Haze, Rain, Snow


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sigma", [5 / 255, 15 / 255, 25 / 255])
def test_noise_has_the_standard_deviation_asked_for(sigma: float) -> None:
    x = torch.full((1, 3, 256, 256), 0.5)
    noise = create("noise", sigma=sigma)(x, seeded(0)) - x
    assert noise.std().item() == pytest.approx(sigma, rel=0.01)
    assert abs(noise.mean().item()) < 5 * sigma / 443


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(61, 50), (64, 59), (67, 65)])
def test_what_is_reduced_and_enlarged_again_lies_where_it_was(scale: int, height: int, width: int) -> None:
    down, across = torch.meshgrid(torch.linspace(0.1, 0.9, height), torch.linspace(0.1, 0.9, width), indexing="ij")
    ramps = torch.stack([down, across, (down + across) / 2])[None]
    error = (create(f"sr{scale}", upsample=True)(ramps, seeded(0)) - ramps)[..., 16:-16, 16:-16].abs()
    assert error.max() < 0.25 * 0.8 / 67


def test_noise_of_channels_and_of_neighbours_is_independent() -> None:
    noise = create("noise", sigma=0.1)(torch.full((1, 3, 200, 200), 0.5), seeded(1))[0] - 0.5
    correlated = torch.corrcoef(noise.flatten(1)) - torch.eye(3)
    assert correlated.abs().max() < 0.03
    for shifted in (noise[:, 1:] * noise[:, :-1], noise[..., 1:] * noise[..., :-1]):
        assert shifted.mean().abs() < 0.03 * 0.1**2


def test_haze_obeys_the_scattering_equation_with_the_depth_it_reports() -> None:
    x = torch.rand(1, 3, 60, 80, generator=seeded(1))
    haze = Haze()
    air = haze.air(x.shape[1:], Draw(draw_seeds(1, seeded(4))[0]))
    y = haze(x, seeded(4))
    t = np.exp(-air.beta * air.depth.numpy())
    expected = x[0].numpy() * t + air.airlight.numpy() * (1 - t)
    assert np.abs(y[0].numpy() - expected).max() < 1e-6
    assert (air.depth > 0).all()


def test_haze_of_zero_density_changes_nothing() -> None:
    x = torch.rand(1, 3, 20, 20)
    assert torch.allclose(create("haze", beta=0)(x), x, atol=1e-6)


def test_depth_of_a_patch_varies_less_than_that_of_a_photograph() -> None:
    haze = Haze(slope=0.0, relief=0.3)
    patches = [haze.air(torch.Size((3, 64, 64)), Draw(seed)).depth.std().item() for seed in range(60)]
    photographs = [haze.air(torch.Size((3, 400, 400)), Draw(seed)).depth.std().item() for seed in range(15)]
    assert np.mean(patches) < 0.6 * np.mean(photographs)


@given(length=st.floats(0, 60), wander=st.floats(0, 6), seed=st.integers(0, 2**40), radius=st.floats(0, 20))
@settings(max_examples=60, deadline=None)
def test_blur_kernels_are_non_negative_and_sum_to_one(length: float, wander: float, seed: int, radius: float) -> None:
    for kernel in (trajectory_kernel(length, wander, Draw(seed)), disc_kernel(radius)):
        assert kernel.shape[0] == kernel.shape[1]
        assert kernel.shape[0] % 2 == 1
        assert kernel.min() >= 0
        assert kernel.sum().item() == pytest.approx(1, abs=1e-5)


@given(length=st.floats(1, 40), wander=st.floats(0, 3), seed=st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_a_shake_does_not_move_the_image(length: float, wander: float, seed: int) -> None:
    kernel = trajectory_kernel(length, wander, Draw(seed))
    axis = torch.arange(len(kernel)) - len(kernel) // 2
    assert abs((kernel.sum(0) * axis).sum().item()) < 1e-3
    assert abs((kernel.sum(1) * axis).sum().item()) < 1e-3


def test_a_straight_shake_spreads_as_a_segment_of_its_length() -> None:
    kernel = trajectory_kernel(30.0, 0.0, Draw(3))
    axis = torch.arange(len(kernel), dtype=torch.float32) - len(kernel) // 2
    variance = ((axis[:, None] ** 2 + axis[None] ** 2) * kernel).sum().item()
    assert variance == pytest.approx(30**2 / 12, rel=0.25)


def test_convolution_equals_the_direct_sum_with_reflected_borders() -> None:
    image = torch.rand(3, 23, 31, generator=seeded(2))
    kernel = trajectory_kernel(9.0, 2.0, Draw(5))
    reach = len(kernel) // 2
    padded = torch.nn.functional.pad(image[:, None], (reach,) * 4, mode="reflect")
    direct = torch.nn.functional.conv2d(padded, kernel.flip(0, 1)[None, None])[:, 0]
    assert torch.allclose(convolve(image, kernel), direct, atol=1e-5)


@given(size=st.integers(1, 12), before=st.integers(0, 40), after=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_mirror_equals_the_reflection_of_numpy(size: int, before: int, after: int) -> None:
    expected = np.pad(np.arange(size), (before, after), mode="reflect" if size > 1 else "edge")
    assert mirror(size, before, after).tolist() == expected.tolist()


@pytest.mark.parametrize("task", ["blur", "sr2", "sr4", "sr8"])
@pytest.mark.parametrize("upsample", [False, True])
def test_a_constant_image_stays_constant(task: str, upsample: bool) -> None:
    params = {"upsample": True} if upsample and task != "blur" else {}
    y = create(task, **params)(torch.full((1, 3, 37, 50), 0.3), seeded(1))
    assert torch.allclose(y, torch.full_like(y, 0.3), atol=1e-5)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_downsampling_and_upsampling_equal_pillows_bicubic(scale: int) -> None:
    x = torch.rand(1, 1, 64, 96, generator=seeded(6))
    picture = Image.fromarray(x[0, 0].numpy())
    small = picture.resize((96 // scale, 64 // scale), Image.Resampling.BICUBIC)
    assert np.abs(create(f"sr{scale}")(x)[0, 0].numpy() - np.asarray(small)).max() < 1e-4
    large = np.clip(np.asarray(small.resize((96, 64), Image.Resampling.BICUBIC)), 0, 1)
    assert np.abs(create(f"sr{scale}", upsample=True)(x)[0, 0].numpy() - large).max() < 1e-4


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_equals_pillows_own_encoding(mode: str) -> None:
    shape = (33, 47, 3) if mode == "RGB" else (33, 47)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=23)
    expected = np.asarray(Image.open(file)).reshape(33, 47, -1)
    x = torch.from_numpy(pixels.reshape(33, 47, -1)).permute(2, 0, 1)[None].float() / 255
    y = create("jpeg", quality=23)(x)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(np.round(y * 255).astype(np.uint8), expected)


@given(
    kind=st.sampled_from(["strokes", "boxes", "pixels"]),
    fraction=st.floats(0, 0.9),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=80, deadline=None)
def test_masks_cover_the_fraction_and_spare_the_rest(
    kind: str, fraction: float, height: int, width: int, seed: int
) -> None:
    inpaint = create("inpaint", kind=kind, fraction=fraction, fill=0.0)
    x = torch.full((1, 3, height, width), 0.7)
    mask = inpaint.masks(x, seeded(seed))  # type: ignore[attr-defined]
    y = inpaint(x, seeded(seed))
    assert torch.equal(y, torch.where(mask, torch.zeros(()), x))
    wanted = round(fraction * height * width)
    slack = width if kind == "boxes" else 0
    assert wanted <= int(mask.sum()) <= wanted + slack


def brightened(x: Tensor, task: str, **params: object) -> Tensor:
    return create(task, veil=0, light=1, **params)(x, seeded(3)) - x


@pytest.mark.parametrize("task", ["rain", "snow"])
def test_particles_only_brighten_a_dark_image_and_vanish_without_density(task: str) -> None:
    x = torch.full((1, 3, 96, 96), 0.2)
    assert brightened(x, task).min() >= -1e-6
    assert brightened(x, task).max() > 0.1
    assert brightened(x, task, density=0).abs().max() < 1e-6


@pytest.mark.parametrize("angle", [-60.0, -25.0, 0.0, 30.0, 75.0])
def test_rain_falls_in_the_direction_asked_for(angle: float) -> None:
    rain = Rain(angle=angle, length=2.0, density=0.004)
    layers = torch.stack([rain.streaks(canvas(200, 200), Draw(seed)) for seed in range(8)])
    dy, dx = torch.gradient(convolve(layers, gaussian_kernel(2.0)), dim=(1, 2))
    across = 0.5 * torch.atan2(2 * (dx * dy).sum(), (dx * dx - dy * dy).sum())
    measured = math.degrees(-across.item())
    assert abs((measured - angle + 90) % 180 - 90) < 4


@pytest.mark.parametrize("kind", [Rain, Snow])
def test_particles_of_a_patch_look_like_a_crop_of_a_photograph(kind: type[Rain] | type[Snow]) -> None:
    def cover(size: int, count: int) -> float:
        x = torch.zeros(count, 1, size, size)
        return kind(veil=0.0, light=1.0, density=0.004, opacity=0.8)(x, seeded(2)).mean().item()

    assert cover(48, 240) == pytest.approx(cover(320, 12), rel=0.15)


def test_low_light_scales_linear_light_by_the_exposure() -> None:
    x = torch.rand(1, 3, 32, 32, generator=seeded(1)).clamp(0.2)
    dark = LowLight(exposure=0.2, gamma=1.0, cast=0.0, full_well=1e6, read_noise=0.0)(x, seeded(1))
    ratio = to_linear(dark) / to_linear(x)
    assert ratio.mean().item() == pytest.approx(0.2, rel=0.005)


@pytest.mark.parametrize("level", [0.3, 0.6, 1.0])
def test_low_light_noise_is_that_of_photons_and_of_reading(level: float) -> None:
    full_well, read = 3000.0, 0.002
    x = torch.full((1, 1, 300, 300), level)
    dark = LowLight(exposure=0.25, gamma=1.0, cast=0.0, full_well=full_well, read_noise=read)(x, seeded(7))
    light = 0.25 * to_linear(x).mean().item()
    assert to_linear(dark).var().item() == pytest.approx(light / full_well + read**2, rel=0.03)


def test_display_curve_is_the_inverse_of_the_linear_one() -> None:
    x = torch.linspace(0, 1, 1001)
    assert torch.allclose(to_display(to_linear(x)), x, atol=2e-6)
    assert to_linear(torch.tensor(0.5)).item() == pytest.approx(0.21404, abs=1e-5)


def test_a_raindrop_shows_the_scene_mirrored_and_smaller() -> None:
    drop = Drop(y=50, x=50, radius=20, stretch=1.0, lobes=(0.0, 0.0), power=2.0, soft=1.0)
    source = Raindrop().film(101, 101, [drop]).source
    assert source[50, 50].tolist() == [50, 50]
    assert source[50, 54, 0].item() == pytest.approx(50 - 2 * 4, abs=0.5)
    assert source[46, 50, 1].item() == pytest.approx(50 + 2 * 4, abs=0.5)
    assert source[2, 3].tolist() == [3, 2]


def test_a_dry_window_changes_nothing() -> None:
    x = torch.rand(1, 3, 40, 40)
    assert torch.equal(create("raindrop", density=0)(x), x)


def test_a_gaussian_kernel_has_the_variance_asked_for() -> None:
    kernel = gaussian_kernel(2.5)
    axis = torch.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum().item() == pytest.approx(1, abs=1e-5)
    assert (kernel.sum(0) * axis**2).sum().item() == pytest.approx(2.5**2, rel=0.04)


@pytest.mark.parametrize("spacing", [8.0, 30.0])
def test_smooth_fields_have_mean_zero_and_unit_variance(spacing: float) -> None:
    fields = torch.stack([smooth_field(120, 120, spacing, Draw(seed)) for seed in range(60)])
    assert fields.mean().item() == pytest.approx(0, abs=0.1)
    assert fields.var().item() == pytest.approx(1, rel=0.12)


@given(n=st.integers(1, 5000))
@settings(max_examples=100, deadline=None)
def test_fast_sizes_have_small_prime_factors(n: int) -> None:
    size = fast_size(n)
    assert n <= size <= max(1.25 * n, n + 2)
    assert 30 ** math.ceil(math.log2(size) + 1) % size == 0


def test_blur_with_noise_is_the_same_blur_with_noise_of_the_size_asked_for() -> None:
    image = torch.full((2, 3, 64, 64), 0.5)
    image[..., 20:40, 20:40] = 0.7
    plain, noisy = (create("blur", noisy=share, noise=(0.01, 0.01))(image, generator=seeded(3)) for share in (0.0, 1.0))
    difference = noisy - plain
    assert difference.std().item() == pytest.approx(0.01, rel=0.05)
    assert abs(difference.mean().item()) < 1e-3
