"""Trackers through accelerate, with the real libraries: TensorBoard's files, and an offline run of wandb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rebridge.training import train


def test_metrics_and_pictures_reach_tensorboard_and_wandb_offline(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    config = tiny("optimisation.iterations=3", "trackers=[tensorboard, wandb]")
    train(config)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(config.output / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3]
    assert board.Tags()["images"]
    (run,) = (config.output / "wandb").glob("offline-run-*")
    (record,) = run.glob("run-*.wandb")
    assert b"psnr/1 step/mean" in record.read_bytes()
    assert any((run / "files" / "media").rglob("*.png"))


def test_an_unknown_tracker_is_refused(tiny: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="trackers"):
        tiny("trackers=[paper]")


def test_without_trackers_the_log_remains(tiny: Callable[..., Any]) -> None:
    config = tiny("optimisation.iterations=1", "trackers=[]")
    train(config)
    assert (config.output / "log.jsonl").is_file()
    assert not Path(config.output / "tensorboard").exists()
