"""Restore images whose clean version is known, and score the results."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from rebridge.evaluation.cases import Case
from rebridge.evaluation.metrics import Channel
from rebridge.evaluation.plain import plain_filters_for
from rebridge.evaluation.scoring import Scoring
from rebridge.evaluation.tables import Column
from rebridge.images import reason
from rebridge.restoration import Restorer

BY_MODEL = "model"
"""Method of scores that are not of a plain filter."""
NOTICED = 0.1
"""Loss in dB from which on an image counts as made worse."""

Scored = Callable[[int, int, "Score"], None]
"""Called as (done, total, score) after each image."""


@dataclass(frozen=True)
class Score:
    """PSNR in dB and SSIM of one image before (input_) and after, and the seconds.

    clean_psnr: of the clean image restored as if it were not, against itself; None where that was not asked for. method: what
    restored, "model" or a plain filter. further: other metrics by name. Of results made elsewhere, what was before and the
    seconds are NaN.
    """

    task: str
    name: str
    input_psnr: float
    psnr: float
    input_ssim: float
    ssim: float
    seconds: float
    clean_psnr: float | None = None
    method: str = BY_MODEL
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

    Attributes:
        low_gain, high_gain: 10 % and 90 % of the images gain less, in dB.
        worse: share of the images that lost more than `NOTICED` dB.
        clean_psnr, clean_worst: median and least of what is left of clean images, in dB; None where not measured.
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
    low_gain: float
    high_gain: float
    worse: float
    clean_psnr: float | None
    clean_worst: float | None
    method: str
    further: Mapping[str, float] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """All figures by name, for a table."""
        return {**vars(self), **self.further}


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
        """One row per task and method, in the order in which the tasks came."""
        groups: dict[tuple[str, str], list[Score]] = {}
        for task in dict.fromkeys(score.task for score in self.scores):
            for score in self.scores:
                if score.task == task:
                    groups.setdefault((task, score.method), []).append(score)
        return [_task_scores(group) for group in groups.values()]


def evaluate(
    restore: Callable[..., Tensor],
    cases: Sequence[Case],
    *,
    channel: Channel = "rgb",
    scoring: Scoring | None = None,
    progress: Scored | None = None,
    harms: dict[str, float] | None = None,
    method: str = BY_MODEL,
    **options: Any,
) -> Evaluation:
    """Restore every case and compare it with its clean image.

    One that fails does not stop the rest.

    Args:
        restore: a `Restorer`, or anything that turns degraded images (1, 3, H, W) in [0, 1] into restored ones.
        cases: the images.
        channel: "rgb", or "y" for luma.
        scoring: the whole protocol, instead of the channel.
        progress: called after each image.
        harms: PSNR of what is made of clean images, by their names; completed by those that it lacks. By default not measured.
        method: what `restore` is, for the scores.
        options: of `restore`, such as steps and seed.

    Raises:
        ValueError: the first one's, where all fail.
    """
    return _some(_evaluated(restore, cases, scoring or Scoring(channel), progress, harms, method, options))


def _evaluated(
    restore: Callable[..., Tensor],
    cases: Sequence[Case],
    scoring: Scoring,
    progress: Scored | None,
    harms: dict[str, float] | None,
    method: str,
    options: dict[str, Any],
) -> Evaluation:
    found = Evaluation()
    for case in cases:
        try:
            score = _scored(restore, case, scoring, harms, method, options)
        except Exception as error:  # one bad file must not end the run, whatever is wrong with it
            found.failures.append(Failure(case.task, case.name, reason(error)))
            continue
        found.scores.append(score)
        if progress is not None:
            progress(len(found.scores) + len(found.failures), len(cases), score)
    return found


def _some(found: Evaluation) -> Evaluation:
    """The evaluation, unless nothing but failures came of it."""
    if found.failures and not found.scores:
        raise ValueError(found.failures[0].error)
    return found


def _scored(
    restore: Callable[..., Tensor],
    case: Case,
    scoring: Scoring,
    harms: dict[str, float] | None,
    method: str,
    options: dict[str, Any],
) -> Score:
    clean, degraded = (image[None] for image in case.load())
    options = {**options, **case.conditions()}
    began = time.perf_counter()
    restored = restore(degraded, **options)
    seconds = time.perf_counter() - began
    if harms is not None and case.name not in harms:
        harms[case.name] = scoring.pair(restore(clean, **options), clean)[0]
    before, after = scoring.pair(degraded, clean), scoring.pair(restored, clean)
    return Score(
        case.task,
        case.name,
        input_psnr=before[0],
        psnr=after[0],
        input_ssim=before[1],
        ssim=after[1],
        seconds=seconds,
        clean_psnr=None if harms is None else harms[case.name],
        method=method,
        further=scoring.further(restored, clean),
    )


def evaluate_results(
    cases: Sequence[Case], *, scoring: Scoring | None = None, progress: Scored | None = None
) -> Evaluation:
    """Compare results made elsewhere with their clean images.

    Args:
        cases: the images, with the result in the place of the degraded image; see `result_cases`.
        scoring: the protocol.
        progress: called after each image.

    Raises:
        ValueError: a result and its true image differ in size.
    """
    protocol, scores = scoring or Scoring(), []
    for case in cases:
        clean, restored = (image[None] for image in case.load())
        if restored.shape != clean.shape:
            sizes = " and ".join("x".join(str(n) for n in image.shape[-1:-3:-1]) for image in (restored, clean))
            raise ValueError(f"{case.name}: the result and the true image differ in size, {sizes}")
        quality, likeness = protocol.pair(restored, clean)
        further, before = protocol.further(restored, clean), (math.nan, math.nan)
        if case.pair is not None:
            before = protocol.pair(case.pair()[1][None], clean)
        scores.append(Score(case.task, case.name, before[0], quality, before[1], likeness, math.nan, further=further))
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
    harm: bool = False,
    plain: bool = False,
    **options: Any,
) -> Evaluation:
    """Restore every case with the restorer's settings for its task; see `evaluate`.

    Args:
        restorer: the model's.
        cases: the images.
        channel: as of `evaluate`.
        progress: as of `evaluate`.
        harm: restore the clean images too, each once, and measure what is left of them.
        plain: measure the plain filters for each task too; their scores come after the model's.
        options: of `restorer`.
    """
    found, protocol = Evaluation(), scoring or Scoring(channel)
    harms: dict[Restorer, dict[str, float]] = {}

    def report(done: int, total: int, score: Score) -> None:
        if progress is not None:
            progress(len(found.scores) + len(found.failures) + done, len(cases), score)

    for task in dict.fromkeys(case.task for case in cases):
        group = [case for case in cases if case.task == task]
        restore = restorer.for_task(task)
        known = harms.setdefault(restore, {}) if harm else None
        part = _evaluated(restore, group, protocol, report, known, BY_MODEL, options)
        found.scores.extend(part.scores)
        found.failures.extend(part.failures)
    failed = {(failure.task, failure.name) for failure in found.failures}
    for task in dict.fromkeys(case.task for case in cases) if plain else ():
        group = [case for case in cases if case.task == task and (task, case.name) not in failed]
        group = [replace(case, conditions=dict) for case in group]
        for simple in plain_filters_for(task):
            known = {} if harm else None
            found.scores.extend(_evaluated(simple, group, protocol, None, known, simple.name, {}).scores)
    return _some(found)


def _task_scores(scores: list[Score]) -> TaskScores:
    def mean(name: str) -> float:
        return statistics.fmean(getattr(score, name) for score in scores)

    gains = sorted(score.gain for score in scores)
    left = [score.clean_psnr for score in scores if score.clean_psnr is not None]
    return TaskScores(
        task=scores[0].task,
        images=len(scores),
        input_psnr=mean("input_psnr"),
        psnr=mean("psnr"),
        gain=mean("gain"),
        median_psnr=statistics.median(score.psnr for score in scores),
        median_gain=statistics.median(gains),
        input_ssim=mean("input_ssim"),
        ssim=mean("ssim"),
        seconds=statistics.median(score.seconds for score in scores),
        low_gain=float(np.quantile(gains, 0.1)),
        high_gain=float(np.quantile(gains, 0.9)),
        worse=math.nan if any(map(math.isnan, gains)) else sum(gain < -NOTICED for gain in gains) / len(gains),
        clean_psnr=statistics.median(left) if left else None,
        clean_worst=min(left, default=None),
        method=scores[0].method,
        further={key: statistics.fmean(score.further[key] for score in scores) for key in scores[0].further},
    )


TASK_COLUMNS = (
    Column("task", "task"),
    Column("method", "method"),
    Column("images", "images", "d"),
    Column("input_psnr", "input PSNR", ".2f"),
    Column("psnr", "PSNR", ".2f"),
    Column("median_psnr", "median PSNR", ".2f"),
    Column("gain", "gain", "+.2f"),
    Column("median_gain", "median gain", "+.2f"),
    Column("low_gain", "10 % gain", "+.2f"),
    Column("high_gain", "90 % gain", "+.2f"),
    Column("worse", "worse", ".0%"),
    Column("input_ssim", "input SSIM", ".4f"),
    Column("ssim", "SSIM", ".4f"),
    Column("clean_psnr", "clean", ".2f"),
    Column("clean_worst", "clean, worst", ".2f"),
    Column("seconds", "s/image", ".2f"),
)
"""Columns of a table of `Evaluation.summaries`."""

SHOWN_COLUMNS = tuple(
    column for column in TASK_COLUMNS if column.key not in ("median_psnr", "median_gain", "high_gain", "input_ssim")
)
"""Those of them that fit on a terminal."""

IMAGE_COLUMNS = (
    Column("task", "task"),
    Column("name", "image"),
    Column("method", "method"),
    *(
        column
        for column in TASK_COLUMNS
        if column.key in ("input_psnr", "psnr", "gain", "input_ssim", "ssim", "clean_psnr", "seconds")
    ),
)
"""Columns of a table of `Evaluation.scores`."""

RESTORER_KEYS = ("seconds", "clean_psnr", "clean_worst", "method")
"""Columns that only the results of a model have."""
GAIN_KEYS = ("input_psnr", "gain", "median_gain", "low_gain", "high_gain", "worse", "input_ssim")
"""Columns that are there where the degraded images are known."""
