"""The command `train`: a model trained by a configuration file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rebridge.commands.options import TrainOptions
from rebridge.training import train_file


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


def train(options: TrainOptions) -> TrainingResult:
    """Train a model; a run that is stopped by Ctrl-C or SIGTERM leaves a checkpoint to resume from.

    Args:
        options: of this command.

    Raises:
        ValueError: no such file, or settings that are unknown or impossible.
    """
    if not options.config.is_file():
        raise ValueError(f"{options.config}: no such file")
    result = train_file(options.config, list(options.overrides), options.resume)
    # Under torchrun every process comes here, and one voice is enough.
    return TrainingResult(result.iterations, result.model, dict(result.psnr), os.environ.get("RANK", "0") == "0")
