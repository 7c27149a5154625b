"""Restore images whose clean version is known, and score the results."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from rebridge.evaluation.cases import Case
from rebridge.evaluation.metrics import Channel, psnr, ssim
from rebridge.evaluation.tables import Column
from rebridge.images import reason
from rebridge.restoration import Restorer

Scored = Callable[[int, int, "Score"], None]
"""Called as (done, total, score) after each image."""


@dataclass(frozen=True)
class Score:
    """PSNR in dB and SSIM of one image before (input_) and after, and the seconds."""

    task: str
    name: str
    input_psnr: float
    psnr: float
    input_ssim: float
    ssim: float
    seconds: float

    @property
    def gain(self) -> float:
        """Change by restoring, in dB."""
        return self.psnr - self.input_psnr


@dataclass(frozen=True)
class TaskScores:
    """Scores of the images of one task.

    Means, except `median_` and `seconds`, which are of the median image, as the first one warms up.
    """

    task: str
    images: int
    input_psnr: float
    psnr: float
    gain: float
    median_psnr: float
    median_gain: float
    input_ssim: float
    ssim: float
    seconds: float


@dataclass(frozen=True)
class Failure:
    """An image that could not be read or restored, and why, in one sentence."""

    task: str
    name: str
    error: str


@dataclass(frozen=True)
class Evaluation:
    """All scores, in the order in which the images were restored.

    Attributes:
        scores: one per image.
        failures: the images without a score.
    """

    scores: list[Score] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def summaries(self) -> list[TaskScores]:
        """One row per task, in the order in which the tasks came."""
        tasks = dict.fromkeys(score.task for score in self.scores)
        return [_task_scores(task, [score for score in self.scores if score.task == task]) for task in tasks]


def evaluate(
    restore: Callable[..., Tensor],
    cases: Sequence[Case],
    *,
    channel: Channel = "rgb",
    progress: Scored | None = None,
    **options: Any,
) -> Evaluation:
    """Restore every case and compare it with its clean image.

    One that fails does not stop the rest.

    Args:
        restore: a `Restorer`, or anything that turns degraded images (1, 3, H, W) in [0, 1] into restored ones.
        cases: the images.
        channel: "rgb", or "y" for luma.
        progress: called after each image.
        options: of `restore`, such as steps and seed.

    Raises:
        ValueError: the first one's, where all fail.
    """
    found = Evaluation()
    for case in cases:
        try:
            score = _scored(restore, case, channel, options)
        except Exception as error:  # one bad file must not end the run, whatever is wrong with it
            found.failures.append(Failure(case.task, case.name, reason(error)))
            if len(found.failures) == len(cases):
                raise
            continue
        found.scores.append(score)
        if progress is not None:
            progress(len(found.scores) + len(found.failures), len(cases), score)
    return found


def _scored(restore: Callable[..., Tensor], case: Case, channel: Channel, options: dict[str, Any]) -> Score:
    clean, degraded = (image[None] for image in case.load())
    began = time.perf_counter()
    restored = restore(degraded, **options)
    seconds = time.perf_counter() - began
    return Score(
        case.task,
        case.name,
        input_psnr=float(psnr(degraded, clean, channel)),
        psnr=float(psnr(restored, clean, channel)),
        input_ssim=float(ssim(degraded, clean, channel)),
        ssim=float(ssim(restored, clean, channel)),
        seconds=seconds,
    )


def evaluate_tasks(
    restorer: Restorer,
    cases: Sequence[Case],
    *,
    channel: Channel = "rgb",
    progress: Scored | None = None,
    **options: Any,
) -> Evaluation:
    """Restore every case with the restorer's settings for its task; see `evaluate`."""
    found = Evaluation()

    def report(done: int, total: int, score: Score) -> None:
        if progress is not None:
            progress(len(found.scores) + len(found.failures) + done, len(cases), score)

    for task in dict.fromkeys(case.task for case in cases):
        group = [case for case in cases if case.task == task]
        part = evaluate(restorer.for_task(task), group, channel=channel, progress=report, **options)
        found.scores.extend(part.scores)
        found.failures.extend(part.failures)
    return found


def _task_scores(task: str, scores: list[Score]) -> TaskScores:
    def mean(name: str) -> float:
        return statistics.fmean(getattr(score, name) for score in scores)

    return TaskScores(
        task=task,
        images=len(scores),
        input_psnr=mean("input_psnr"),
        psnr=mean("psnr"),
        gain=mean("gain"),
        median_psnr=statistics.median(score.psnr for score in scores),
        median_gain=statistics.median(score.gain for score in scores),
        input_ssim=mean("input_ssim"),
        ssim=mean("ssim"),
        seconds=statistics.median(score.seconds for score in scores),
    )


TASK_COLUMNS = (
    Column("task", "task"),
    Column("images", "images", "d"),
    Column("input_psnr", "input PSNR", ".2f"),
    Column("psnr", "PSNR", ".2f"),
    Column("median_psnr", "median PSNR", ".2f"),
    Column("gain", "gain", "+.2f"),
    Column("median_gain", "median gain", "+.2f"),
    Column("input_ssim", "input SSIM", ".4f"),
    Column("ssim", "SSIM", ".4f"),
    Column("seconds", "s/image", ".2f"),
)
"""Columns of a table of `Evaluation.summaries`."""

IMAGE_COLUMNS = (
    Column("task", "task"),
    Column("name", "image"),
    *(column for column in TASK_COLUMNS if column.key not in ("task", "images", "median_psnr", "median_gain")),
)
"""Columns of a table of `Evaluation.scores`."""
