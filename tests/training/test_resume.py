"""A run may be killed at any moment and ends, on the CPU, with the same bits as one that was not."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rebridge.training import CheckpointError, Step, train

Tiny = Callable[..., Any]


class Killed(BaseException):
    """Stands for a SIGKILL: nothing in the trainer may catch it."""


def kill_after(iteration: int) -> Callable[[Step], None]:
    """A callback that ends the run, as a SIGKILL would, when so many iterations are done."""

    def callback(step: Step) -> None:
        if step.iteration == iteration:
            raise Killed

    return callback


def files(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.name}:{name}": value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()
    }


def curve(output: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def assert_same_run(a: Path, b: Path) -> None:
    left, right = files(a / "checkpoint-00000006"), files(b / "checkpoint-00000006")
    assert left.keys() == right.keys()
    assert len(left) > 0
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
    assert curve(a) == curve(b)


@pytest.mark.parametrize("extra", [(), ("precision=bf16", "channels_last=true", "log_every=4", "data.workers=1")])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one_bit_by_bit(
    tiny: Tiny, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    train(tiny(f"output={tmp_path / 'whole'}", *extra))
    with pytest.raises(Killed):
        train(tiny(*extra), callbacks=[kill_after(4)])
    result = train(tiny(*extra), resume=True)
    assert result.iterations == 6
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_termination_signal_leaves_a_checkpoint_of_the_last_iteration(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(f"output={tmp_path / 'whole'}", "checkpoint_every=100"))

    def signalled(step: Step) -> None:
        if step.iteration == 1:
            signal.raise_signal(signal.SIGTERM)

    result = train(tiny("checkpoint_every=100"), callbacks=[signalled])
    assert (result.iterations, result.model) == (2, None)
    assert (tmp_path / "run" / "checkpoint-00000002").is_dir()
    train(tiny("checkpoint_every=100"), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_truncated_checkpoint_is_refused_with_a_sentence_and_the_previous_one_used(
    tiny: Tiny, tmp_path: Path, name: str
) -> None:
    train(tiny())
    damaged = tmp_path / "run" / "checkpoint-00000006" / name
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    steps: list[Step] = []
    with pytest.warns(UserWarning, match=rf"{name} is (truncated|damaged).*trying the checkpoint before it"):
        train(tiny(), resume=True, callbacks=[steps.append])
    assert [step.iteration for step in steps] == [4, 5, 6]


def test_no_usable_checkpoint_is_an_error_that_names_the_file(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("keep_checkpoints=1"))
    (tmp_path / "run" / "checkpoint-00000006" / "ema.safetensors").unlink()
    with (
        pytest.warns(match="cannot be read"),
        pytest.raises(CheckpointError, match=r"no usable checkpoint.*ema\.safetensors"),
    ):
        train(tiny(), resume=True)


def test_only_the_last_checkpoints_are_kept_and_nothing_temporary(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("checkpoint_every=1", "keep_checkpoints=2"))
    kept = sorted(path.name for path in (tmp_path / "run").iterdir() if "checkpoint" in path.name)
    assert kept == ["checkpoint-00000005", "checkpoint-00000006"]


def test_new_run_does_not_overwrite_the_checkpoints_of_another(tiny: Tiny) -> None:
    train(tiny())
    with pytest.raises(CheckpointError, match="resume it, or choose another output"):
        train(tiny())


def test_checkpoint_of_another_network_is_refused_with_a_sentence(tiny: Tiny) -> None:
    train(tiny())
    with pytest.raises(CheckpointError, match="is of another network"):
        train(tiny("network.widths=[4, 12]"), resume=True)
