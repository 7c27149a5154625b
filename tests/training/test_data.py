"""The stream of training data: the same for any number of workers, shared out by processes, resumed anywhere."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rebridge.data import ImageFolder, MixedPairs, SyntheticPairs, SyntheticSource
from rebridge.training import load_config
from rebridge.training.config import Phase
from rebridge.training.config_files import ConfigError
from rebridge.training.data import Awaited, BatchIndices, batches, holdout_split, training_pairs, validation_pairs

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"


@pytest.mark.parametrize("workers", [1, 2])
def test_stream_is_the_same_for_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    pairs = SyntheticPairs(ImageFolder(tmp_path).load(), {"rain": 1.0, "noise": 2.0, "clean": 0.5}, patch=16)
    indices = BatchIndices(3, 1, 1, 0, start=2, iterations=5)
    alone, shared = list(batches(pairs, indices, 0)), list(batches(pairs, indices, workers))
    assert len(alone) == 3
    for a, b in zip(alone, shared, strict=True):
        assert torch.equal(a.clean, b.clean)
        assert torch.equal(a.degraded, b.degraded)
        assert a.task == b.task


def test_stream_began_later_is_the_rest_of_the_stream() -> None:
    whole = list(BatchIndices(2, 3, 2, 1, start=0, iterations=6))
    assert list(BatchIndices(2, 3, 2, 1, start=4, iterations=6)) == whole[4 * 3 :]


def test_processes_and_accumulation_share_out_every_pair_once() -> None:
    parts = [list(BatchIndices(2, 3, 2, rank, 0, 4)) for rank in (0, 1)]
    assert sorted(index for part in parts for batch in part for index in batch) == list(range(2 * 3 * 2 * 4))


PHASES = [
    Phase(iterations=2, patch=8, batch=3),
    Phase(iterations=1, patch=12, batch=2),
    Phase(iterations=9, patch=16, batch=1),
]


@pytest.mark.parametrize("start", [0, 1, 2, 3, 5])
def test_phases_have_batches_of_their_own_and_every_pair_is_seen_once(start: int) -> None:
    parts = [list(BatchIndices(99, 2, 2, rank, start, 6, PHASES)) for rank in (0, 1)]
    assert [len(batch) for batch in parts[0][::2]] == [3, 3, 2, 1, 1, 1][start:]
    first = BatchIndices(99, 2, 2, 0, start, 6, PHASES).first(start, 0)
    assert first == [0, 12, 24, 32, 36, 40][start]
    assert sorted(index for part in parts for batch in part for index in batch) == list(range(first, 44))


def test_patches_grow_where_their_phase_begins(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    indices = BatchIndices(99, 1, 1, 0, 0, 5, PHASES)
    source = SyntheticSource(ImageFolder(tmp_path).load(), "clean")
    stream = MixedPairs([source], [1.0], 99, 0, indices.patches())
    sizes = [tuple(batch.clean.shape) for batch in batches(stream, indices, 0)]
    assert sizes == [(3, 3, 8, 8), (3, 3, 8, 8), (2, 3, 12, 12), (1, 3, 16, 16), (1, 3, 16, 16)]


def test_held_out_images_are_spread_over_the_folder_and_not_trained_on() -> None:
    train, held_out = holdout_split(432, 12)
    assert held_out == [18 + 36 * place for place in range(12)]
    assert sorted(train + held_out) == list(range(432))


def test_the_time_of_waiting_for_batches_is_counted() -> None:
    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.02)
            yield number

    awaited = Awaited(slow())
    assert [next(awaited) for _ in range(3)] == [0, 1, 2]
    assert 0.06 <= awaited.seconds < 3


def test_several_folders_are_one_set(tmp_path: Path) -> None:
    for folder, values in (("b", (10, 20)), ("a/deep", (30,))):
        (tmp_path / folder).mkdir(parents=True)
        for value in values:
            Image.new("RGB", (24, 16), (value,) * 3).save(tmp_path / folder / f"{value}.png")
    changes = [f"data.clean=[{tmp_path}/b, {tmp_path}/a]", "data.tasks={clean: 1}", "data.patch=16", "data.margin=0",
               "data.quantise=false", "data.holdout=1"]  # fmt: skip
    config = load_config(TINY, changes).data
    training = training_pairs(config, seed=0)
    seen = {round(255 * float(training[number].clean.mean())) for number in range(40)}
    assert seen == {10, 30}  # in the order that is given, the middle one is held out
    held = {round(255 * float(pair.clean.mean())) for pair in validation_pairs(config, seed=0)}
    assert held == {20}


def test_each_of_several_folders_must_hold_images(tmp_path: Path) -> None:
    Image.new("RGB", (24, 16)).save(tmp_path / "0.png")
    config = load_config(TINY, [f"data.clean=[{tmp_path}, {tmp_path}/missing]", "data.holdout=0"]).data
    with pytest.raises(ConfigError, match=r"data.clean: .*missing is not a folder"):
        training_pairs(config, seed=0)
    with pytest.raises(ConfigError, match="data: give clean and tasks"):
        load_config(TINY, ["data.clean=[]"])
    with pytest.raises(ConfigError, match="clean must be one folder"):
        load_config(TINY, ["data.clean=[a, b]", "data.conditions.depth=c"])
