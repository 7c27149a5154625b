"""Synthetic pairs: item i is a pure function of the seed and i, tasks keep their shares, patches keep their size."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from rebridge.data import ImageFolder, Pair, SyntheticPairs, SyntheticSource
from rebridge.data.seeds import generator_of

TASKS = {"rain": 1.0, "noise": 2.0, "sr4": 0.5, "clean": 0.5}


@pytest.fixture
def images(draw: Callable[..., Path], tmp_path: Path) -> ImageFolder:
    for number in range(4):
        draw(f"images/{number}.png", 40, 32)
    return ImageFolder(tmp_path / "images").load()


def equal(a: Pair, b: Pair) -> bool:
    return torch.equal(a.clean, b.clean) and torch.equal(a.degraded, b.degraded) and a.task == b.task


def test_pair_is_a_function_of_its_number_whatever_was_drawn_before(images: ImageFolder) -> None:
    pairs, again = SyntheticPairs(images, TASKS, patch=16, seed=3), SyntheticPairs(images, TASKS, patch=16, seed=3)
    forwards = [pairs[index] for index in range(12)]
    assert all(equal(forwards[index], again[index]) for index in reversed(range(12)))
    other = SyntheticPairs(images, TASKS, patch=16, seed=4)
    assert not any(torch.equal(forwards[index].clean, other[index].clean) for index in range(12))


def test_tasks_keep_their_shares_in_every_stretch(images: ImageFolder) -> None:
    pairs = SyntheticPairs(images, TASKS, patch=16)
    for first in (0, 777):
        counts = Counter(pairs.source_of(index).task for index in range(first, first + 400))
        for task, weight in TASKS.items():
            assert abs(counts[task] - 400 * weight / 4) <= 4


def test_patches_have_the_size_asked_for_also_from_smaller_images(images: ImageFolder) -> None:
    for task in TASKS:
        for patch, margin in ((16, 0), (16, 5), (50, 3)):
            pair = SyntheticSource(images, task, margin=margin).draw(patch, generator_of(1))
            assert pair.clean.shape == pair.degraded.shape == (3, patch, patch)
            assert float(pair.degraded.min()) >= 0
            assert float(pair.degraded.max()) <= 1


def test_clean_task_leaves_the_image_alone_and_others_do_not(images: ImageFolder) -> None:
    assert torch.equal(*SyntheticSource(images, "clean").draw(16, generator_of(0))[:2])
    assert not torch.equal(*SyntheticSource(images, "noise").draw(16, generator_of(0))[:2])


def test_degraded_patches_are_what_an_eight_bit_file_would_hold(images: ImageFolder) -> None:
    degraded = SyntheticSource(images, "noise").draw(16, generator_of(0)).degraded * 255
    torch.testing.assert_close(degraded, degraded.round(), rtol=0, atol=1e-4)
    fine = SyntheticSource(images, "noise", quantise=False).draw(16, generator_of(0)).degraded * 255
    assert (fine - fine.round()).abs().max() > 0.1


def test_noise_of_a_known_level_has_that_level(draw: Callable[..., Path], tmp_path: Path) -> None:
    images = ImageFolder(draw("flat/0.png", 80, 80).parent)
    images._loaded[0] = torch.full((3, 80, 80), 128, dtype=torch.uint8)
    pair = SyntheticSource(images, "noise", {"sigma": 0.1}).draw(64, generator_of(5))
    assert float((pair.degraded - pair.clean).std()) == pytest.approx(0.1, rel=0.05)


def test_default_collation_keeps_the_names_of_the_fields(images: ImageFolder) -> None:
    batch = next(iter(DataLoader(SyntheticPairs(images, TASKS, patch=8), batch_sampler=[[0, 1, 2]])))
    assert batch.clean.shape == batch.degraded.shape == (3, 3, 8, 8)
    assert len(batch.task) == 3


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [({"rein": 1.0}, "unknown task 'rein'"), ({"rain": -1.0}, "weights must be at least 0"), ({}, "0 sources")],
)
def test_impossible_mixtures_are_refused(images: ImageFolder, tasks: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SyntheticPairs(images, tasks, patch=8)
