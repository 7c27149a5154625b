"""Checkpoints: what is kept comes back, and nothing is kept that has not been looked at."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rebridge.training.checkpoints import CheckpointError, first_not_finite, load_checkpoint, save_checkpoint

STATE = {"psnr": {}, "loss": {"sum": 0.0, "count": 0}, "config": None}


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    bad=st.sampled_from([math.nan, math.inf, -math.inf]),
    place=st.floats(0, 1, exclude_max=True),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
def test_one_value_that_is_not_finite_is_found_wherever_it_is(
    sizes: list[int], bad: float, place: float, dtype: torch.dtype
) -> None:
    tensors = {f"group{number}": {"w": torch.ones(size, dtype=dtype)} for number, size in enumerate(sizes)}
    tensors["count"] = {"step": torch.tensor(3)}
    assert first_not_finite(tensors) is None
    chosen = int(place * len(sizes))
    tensors[f"group{chosen}"]["w"][int(place * sizes[chosen])] = bad
    assert first_not_finite(tensors) == f"group{chosen}: w"


@settings(max_examples=30, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), name=st.sampled_from(["model", "optimizer"]))
def test_any_flipped_bit_of_the_tensors_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int, name: str
) -> None:
    output: Path = tmp_path_factory.mktemp("run")
    tensors = {key: {"w": torch.arange(6.0)} for key in ("model", "optimizer")}
    folder = save_checkpoint(output, 7, tensors, STATE, keep=1)
    back = load_checkpoint(folder).tensors
    assert all(torch.equal(back[key]["w"], tensors[key]["w"]) for key in tensors)
    file = folder / f"{name}.safetensors"
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    file.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=f"{name}.safetensors is damaged"):
        load_checkpoint(folder)
