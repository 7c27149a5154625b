"""The Frechet distance of filter-bank features: the formula on known Gaussians, and an order that eyes would give."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rebridge.evaluation.frechet import FEATURES, Statistics, features, frechet_distance, statistics


def of(images: Tensor) -> Statistics:
    return statistics([features(images)])


def gaussian(seed: int, size: int = 5) -> Statistics:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return Statistics(torch.randn(size, generator=generator, dtype=torch.float64), root @ root.T, 100)


def textures(count: int = 6, size: int = 160, seed: int = 0) -> Tensor:
    """Pictures with a spectrum that falls as those of photographs do, 1 / f, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(count, 3, size, size, generator=generator)
    rows, columns = torch.fft.fftfreq(size), torch.fft.rfftfreq(size)
    frequency = (rows[:, None].square() + columns.square()).sqrt().clamp(min=1 / size)
    return (0.5 + 0.1 * torch.fft.irfft2(torch.fft.rfft2(white) / frequency, s=(size, size)) / 6).clamp(0, 1)


def blurred(images: Tensor) -> Tensor:
    kernel = torch.ones(3, 1, 5, 5) / 25
    return torch.nn.functional.conv2d(torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)


@settings(deadline=None, max_examples=20)
@given(a=st.integers(0, 99), b=st.integers(100, 199))
def test_it_is_symmetric_and_zero_only_for_equal_gaussians(a: int, b: int) -> None:
    assert frechet_distance(gaussian(a), gaussian(a)) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(gaussian(a), gaussian(b)) > 0.01
    assert frechet_distance(gaussian(a), gaussian(b)) == pytest.approx(frechet_distance(gaussian(b), gaussian(a)))


def test_of_diagonal_gaussians_it_is_the_sum_over_dimensions() -> None:
    means, stds = torch.tensor([[0.0, 1.0], [2.0, 1.5]]).double(), torch.tensor([[1.0, 2.0], [3.0, 0.5]]).double()
    a, b = (Statistics(mean, torch.diag(std.square()), 10) for mean, std in zip(means, stds, strict=True))
    assert frechet_distance(a, b) == pytest.approx(2.0**2 + 0.5**2 + (1 - 3) ** 2 + (2 - 0.5) ** 2)


@pytest.mark.parametrize(("place", "wavelength"), [(0, 2.5), (1, 4.0), (2, 8.0), (3, 16.0)])
def test_a_wave_excites_the_filter_of_its_wavelength_and_direction_most(place: int, wavelength: float) -> None:
    wave = 0.5 + 0.25 * torch.cos(2 * math.pi / wavelength * torch.arange(128.0)).expand(1, 1, 128, 128)
    energies = features(wave).mean(0).reshape(4, 2, 4)[:, 0]
    assert int(energies.argmax()) == place * 4
    # A real wave of amplitude A excites a filter of unit response by A / 2.
    assert float(energies[place, 0]) == pytest.approx(2 * math.log(0.125 * 255), abs=0.1)


def test_brightness_does_not_count() -> None:
    images = (255 * textures()).round() / 255
    assert frechet_distance(of(images), of(images + 20 / 255)) < 1e-3


def test_blur_and_noise_are_further_from_the_texture_than_another_sample_of_it() -> None:
    clean, other = textures(seed=0), textures(seed=1)
    reference = of(clean)
    same = frechet_distance(reference, of(other))
    for damaged in (
        blurred(clean),
        clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2)),
    ):
        assert frechet_distance(reference, of(damaged.clamp(0, 1))) > 5 * same
    half = frechet_distance(reference, of((clean + blurred(clean)) / 2))
    assert same < half < frechet_distance(reference, of(blurred(clean)))


def test_too_small_and_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 64 pixels"):
        features(torch.rand(1, 3, 63, 80))
    with pytest.raises(ValueError, match=f"1 patches are too few for a covariance of {FEATURES}"):
        of(torch.rand(1, 3, 64, 64))
