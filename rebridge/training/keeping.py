"""The output folder of a run: one writer, checkpoints, best weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rebridge.training import checkpoints
from rebridge.training.checkpoints import Checkpoint, CheckpointError
from rebridge.training.config import FitConfig
from rebridge.training.ownership import RunLock
from rebridge.training.resuming import check_settings

Tensors = Mapping[str, Mapping[str, Tensor]]


class RunFolder:
    """The files that a run keeps in its output folder.

    The folder is its own until it is released.

    Args:
        config: of the run.
        processes: that train together.
        writes: False in processes that only read.

    Raises:
        CheckpointError: another run writes there, or the folder cannot be written.
    """

    def __init__(self, config: FitConfig, processes: int, writes: bool) -> None:
        self.config, self.processes, self.writes = config, processes, writes
        self.output = config.output
        self._lock = RunLock(self.output) if writes else None
        self._first: Tensors | None = None
        if writes:
            checkpoints.remove_partial(self.output)

    def release(self) -> None:
        """Let others write."""
        if self._lock is not None:
            self._lock.release()

    def latest(self, resume: bool) -> Checkpoint | None:
        """The checkpoint to go on from, or None for a new run.

        Its settings are compared with those of the run.

        Raises:
            CheckpointError: checkpoints in the way of a new run, damaged ones, or such of another problem.
        """
        if not resume:
            if checkpoints.checkpoint_folders(self.output) or checkpoints.checkpoint_folders(self.output, "best"):
                raise CheckpointError(
                    f"{self.output} holds checkpoints of an earlier run: resume it, or choose another output"
                )
            return None
        found = checkpoints.latest_checkpoint(self.output)
        if found is not None:
            check_settings(self.config, found.folder, found.state, self.processes, self.writes)
        return found

    def remember(self, tensors: Tensors) -> None:
        """Keep the tensors that a new run begins with until they are not needed.

        That is when its first checkpoint is written.
        """
        if self.writes:
            self._first = {
                file: {name: value.detach().to("cpu", copy=True) for name, value in group.items()}
                for file, group in tensors.items()
            }

    def save(self, done: int, tensors: Tensors, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint after `done` iterations.

        Returns its folder, in every process.
        """
        if self.writes:
            checkpoints.save_checkpoint(self.output, done, tensors, state, self.config.keep_checkpoints)
        self._first = None
        return checkpoints.checkpoint_folder(self.output, done)

    def save_beginning(self, state: Mapping[str, Any]) -> None:
        """Write what the run began with, where nothing has been saved yet."""
        if self._first is not None:
            self.save(0, {**self._first, "optimizer": {}}, state)

    @property
    def best_score(self) -> float:
        """The score of the best weights that are kept, or minus infinity."""
        for folder in checkpoints.checkpoint_folders(self.output, "best"):
            try:
                return float(checkpoints.read_state(folder)["score"])
            except (CheckpointError, KeyError, TypeError, ValueError) as error:
                warnings.warn(f"the best weights so far are lost: {error}", stacklevel=2)
        return -math.inf

    def save_best(self, done: int, tensors: Tensors, state: Mapping[str, Any]) -> None:
        """Write the best weights so far, those after `done` iterations."""
        checkpoints.save_best(self.output, done, tensors, state)

    def best(self) -> Checkpoint | None:
        """The best weights, or None where no validation gave a score.

        CheckpointError where they are damaged.
        """
        folders = checkpoints.checkpoint_folders(self.output, "best")
        return checkpoints.load_checkpoint(folders[0]) if folders else None
