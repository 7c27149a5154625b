"""Restore images whose clean version is known, and score the results."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from rebridge.evaluation.cases import Case
from rebridge.evaluation.metrics import Channel
from rebridge.evaluation.scoring import Scoring
from rebridge.evaluation.tables import Column
from rebridge.restoration import Restorer

Scored = Callable[[int, int, "Score"], None]
"""Called as (done, total, score) after each image."""


@dataclass(frozen=True)
class Score:
    """PSNR in dB and SSIM of one image before (input_) and after, and the seconds.

    `further` holds other metrics by name. Of results made elsewhere, what was before and the seconds are NaN.
    """

    task: str
    name: str
    input_psnr: float
    psnr: float
    input_ssim: float
    ssim: float
    seconds: float
    further: Mapping[str, float] = field(default_factory=dict)

    @property
    def gain(self) -> float:
        """Change by restoring, in dB."""
        return self.psnr - self.input_psnr

    @property
    def row(self) -> dict[str, Any]:
        """All figures by name, for a table."""
        return {**vars(self), "gain": self.gain, **self.further}


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
    further: Mapping[str, float] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """All figures by name, for a table."""
        return {**vars(self), **self.further}


@dataclass(frozen=True)
class Evaluation:
    """All scores, in the order in which the images were restored."""

    scores: list[Score] = field(default_factory=list)

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
    scoring: Scoring | None = None,
    progress: Scored | None = None,
    **options: Any,
) -> Evaluation:
    """Restore every case and compare it with its clean image.

    Args:
        restore: a `Restorer`, or anything that turns degraded images (1, 3, H, W) in [0, 1] into restored ones.
        cases: the images.
        channel: "rgb", or "y" for luma.
        scoring: the whole protocol, instead of the channel.
        progress: called after each image.
        options: of `restore`, such as steps and seed.
    """
    scores: list[Score] = []
    protocol = scoring or Scoring(channel)
    for case in cases:
        clean, degraded = (image[None] for image in case.load())
        began = time.perf_counter()
        restored = restore(degraded, **options)
        seconds = time.perf_counter() - began
        before, after = protocol.pair(degraded, clean), protocol.pair(restored, clean)
        further = protocol.further(restored, clean)
        scores.append(Score(case.task, case.name, before[0], after[0], before[1], after[1], seconds, further))
        if progress is not None:
            progress(len(scores), len(cases), scores[-1])
    return Evaluation(scores)


def evaluate_results(
    cases: Sequence[Case], *, scoring: Scoring | None = None, progress: Scored | None = None
) -> Evaluation:
    """Compare results made elsewhere with their clean images.

    Args:
        cases: the images, with the result in the place of the degraded image; see `result_cases`.
        scoring: the protocol.
        progress: called after each image.
    """
    protocol, scores = scoring or Scoring(), []
    for case in cases:
        clean, restored = (image[None] for image in case.load())
        if restored.shape != clean.shape:
            sizes = " and ".join("x".join(str(n) for n in image.shape[-1:-3:-1]) for image in (restored, clean))
            raise ValueError(f"{case.name}: the result and the true image differ in size, {sizes}")
        quality, likeness = protocol.pair(restored, clean)
        further = protocol.further(restored, clean)
        nothing = math.nan
        scores.append(Score(case.task, case.name, nothing, quality, nothing, likeness, nothing, further))
        if progress is not None:
            progress(len(scores), len(cases), scores[-1])
    return Evaluation(scores)


def evaluate_tasks(
    restorer: Restorer,
    cases: Sequence[Case],
    *,
    channel: Channel = "rgb",
    scoring: Scoring | None = None,
    progress: Scored | None = None,
    **options: Any,
) -> Evaluation:
    """Restore every case with the restorer's settings for its task; see `evaluate`."""
    scores: list[Score] = []

    def report(done: int, total: int, score: Score) -> None:
        if progress is not None:
            progress(len(scores) + done, len(cases), score)

    for task in dict.fromkeys(case.task for case in cases):
        group = [case for case in cases if case.task == task]
        found = evaluate(restorer.for_task(task), group, channel=channel, scoring=scoring, progress=report, **options)
        scores.extend(found.scores)
    return Evaluation(scores)


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
        further={key: statistics.fmean(score.further[key] for score in scores) for key in scores[0].further},
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

RESTORER_KEYS = ("input_psnr", "gain", "median_gain", "input_ssim", "seconds")
"""Keys of columns that results made elsewhere do not have."""
