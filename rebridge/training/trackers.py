"""Trackers of a run, by accelerate: TensorBoard, and wandb, offline by default.

Offline runs of wandb lie in `wandb/` of the output folder; `wandb sync` uploads them. WANDB_MODE=online reports as the run goes,
and WANDB_PROJECT names its project.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from rebridge.catalogue import Catalogue
from rebridge.training.extra import needed


class BoardTracker:
    """TensorBoard files in `tensorboard/` of the output folder.

    Args:
        output: of the run.
        start: iterations that were done before; what was written after them is purged.
    """

    def __init__(self, output: Path, start: int) -> None:
        purge = {"purge_step": start + 1} if start else {}
        self._tracker = _started(needed("accelerate.tracking").TensorBoardTracker("tensorboard", str(output), **purge))

    def scalars(self, iteration: int, metrics: dict[str, float]) -> None:
        """Record numbers by name."""
        for name, value in metrics.items():
            self._tracker.writer.add_scalar(name, value, iteration)

    def picture(self, iteration: int, name: str, picture: Tensor) -> None:
        """Record a picture (1 or 3, H, W) in [0, 1]."""
        self._tracker.writer.add_image(name, picture, iteration)

    def finish(self) -> None:
        """Close the files."""
        self._tracker.finish()


class WandbTracker:
    """A run of Weights & Biases; a run that is resumed goes on in the same one.

    Args:
        output: of the run; its name is that of the folder.
        start: iterations that were done before.
    """

    def __init__(self, output: Path, start: int) -> None:
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_SILENT", "true")
        self._wandb = needed("wandb")
        name = output.resolve().name
        settings = {"dir": str(output), "name": name, "id": name, "resume": "allow" if start else None}
        project = os.environ.get("WANDB_PROJECT", "rebridge")
        self._tracker = _started(needed("accelerate.tracking").WandBTracker(project, **settings))

    def scalars(self, iteration: int, metrics: dict[str, float]) -> None:
        """Record numbers by name."""
        self._tracker.log(metrics, step=iteration)

    def picture(self, iteration: int, name: str, picture: Tensor) -> None:
        """Record a picture (1 or 3, H, W) in [0, 1]."""
        array = picture.clamp(0, 1).mul(255).byte().permute(1, 2, 0).cpu().numpy()
        self._tracker.log_images({name: [array]}, step=iteration)

    def finish(self) -> None:
        """End the run."""
        self._tracker.finish()


def _started(tracker: Any) -> Any:
    """Start a tracker; those of earlier releases of accelerate start by themselves."""
    if hasattr(tracker, "start"):
        tracker.start()
    return tracker


TRACKERS: Catalogue[Any] = Catalogue("tracker", {"tensorboard": BoardTracker, "wandb": WandbTracker})
