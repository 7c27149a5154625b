"""Baselines do what their authors say, on pictures where the right answer is known."""

import numpy as np
import pytest
import torch

from rebridge.evaluation import plain
from rebridge.evaluation.plain import PLAIN_FILTERS, noise_level, plain_filters_for


def scene(seed: int = 0) -> np.ndarray:
    """Draw smooth colours with a dark pixel in every place, as haze-free pictures have."""
    random = np.random.default_rng(seed)
    coarse = random.random((8, 8, 3)).astype(np.float32)
    picture = np.kron(coarse, np.ones((16, 16, 1), np.float32))
    picture[::4, ::4] = 0.0
    return picture


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


@pytest.mark.parametrize("sigma", [0.02, 0.06, 0.15])
def test_the_level_of_white_noise_is_found(sigma: float) -> None:
    random = np.random.default_rng(1)
    noisy = np.float32(0.5) + sigma * random.standard_normal((128, 128, 1)).astype(np.float32).repeat(3, 2)
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.08)


def test_a_stretch_undoes_an_even_haze_and_darkness() -> None:
    picture = scene()
    assert error(np.clip(plain.stretch(0.4 * picture + 0.3), 0, 1), np.clip(plain.stretch(picture), 0, 1)) < 1e-4


def test_gamma_brings_the_mean_to_one_half() -> None:
    even = np.full((8, 8, 3), 0.2, np.float32)
    assert plain.gamma(even) == pytest.approx(np.full((8, 8, 3), 0.5), abs=1e-4)


def test_the_dark_channel_takes_most_of_an_even_haze() -> None:
    picture = scene(3)
    hazy = 0.6 * picture + 0.4 * np.float32(0.95)
    hazy[:32] = 0.95
    cleared = np.clip(plain.dark_channel(hazy), 0, 1)
    assert error(cleared[64:], picture[64:]) < 0.35 * error(hazy[64:], picture[64:])


@pytest.mark.parametrize("name", ["non-local means", "total variation", "median"])
def test_denoisers_halve_noise_on_a_plain_ground(name: str) -> None:
    random = np.random.default_rng(2)
    noisy = (0.5 + 0.08 * random.standard_normal((64, 64, 3))).astype(np.float32)
    filtered = {plain_filter.name: plain_filter.filter for plain_filter in PLAIN_FILTERS}[name](noisy)
    assert error(filtered, np.full_like(noisy, 0.5)) < 0.5 * error(noisy, np.full_like(noisy, 0.5))


def test_total_variation_leaves_a_flat_picture_alone() -> None:
    even = np.full((16, 16, 3), 0.3, np.float32)
    assert np.array_equal(plain.blind_total_variation(even), even)


def test_holes_are_filled_and_the_rest_stays() -> None:
    picture = np.full((32, 32, 3), 0.8, np.float32)
    holed = picture.copy()
    holed[10:14] = 0.5
    filled = plain.telea(holed)
    assert error(filled, picture) < 0.01


@pytest.mark.parametrize("plain_filter", PLAIN_FILTERS, ids=lambda plain_filter: plain_filter.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_filter_is_called_as_a_restorer(plain_filter: plain.PlainFilter, channels: int) -> None:
    degraded = torch.rand(1, channels, 40, 33, generator=torch.Generator().manual_seed(0))
    restored = plain_filter(degraded, steps=3)
    assert restored.shape == degraded.shape
    assert float(restored.min()) >= 0
    assert float(restored.max()) <= 1


def test_a_task_that_none_names_is_tried_with_all() -> None:
    assert [plain_filter.name for plain_filter in plain_filters_for("inpaint")] == ["Telea"]
    assert len(plain_filters_for("pairs")) == len(PLAIN_FILTERS)
