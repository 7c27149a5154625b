"""The command `train`: a model trained by a configuration file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rebridge.commands.options import TrainOptions
from rebridge.images.regular import irregular
from rebridge.training import train_file
from rebridge.training.fit import Step


@dataclass(frozen=True)
class TrainingResult:
    """The end of a training run.

    Attributes:
        iterations: that were done.
        model: folder of the model, or None where the run was stopped before its end.
        psnr: of the validation, by name, in dB.
        speaks: True in the one of several processes that should tell the user.
    """

    iterations: int
    model: Path | None
    psnr: dict[str, float]
    speaks: bool = True


def train(options: TrainOptions, callback: Callable[[Step], object] | None = None) -> TrainingResult:
    """Train a model; a run that is stopped leaves a checkpoint to resume from.

    Args:
        options: of this command.
        callback: called with each iteration that is done; raise from it to cancel.

    Raises:
        ValueError: no such file, or settings that are unknown or impossible.
    """
    problem = irregular(options.config, "a configuration file")
    if problem is not None:
        raise ValueError(f"{options.config}: {problem}")
    callbacks = [] if callback is None else [callback]
    result = train_file(options.config, options.overrides, options.resume, options.stage, callbacks)
    # Under torchrun every process comes here, and one voice is enough.
    return TrainingResult(result.iterations, result.model, dict(result.psnr), os.environ.get("RANK", "0") == "0")
