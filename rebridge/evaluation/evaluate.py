"""Restore images whose clean version is known, and score the results."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from rebridge.evaluation.cases import Case
from rebridge.evaluation.metrics import Channel, psnr, ssim


@dataclass(frozen=True)
class Score:
    """One restored image: PSNR in dB and SSIM before (input_) and after, and the seconds it took to restore."""

    task: str
    name: str
    input_psnr: float
    psnr: float
    input_ssim: float
    ssim: float
    seconds: float

    @property
    def gain(self) -> float:
        """What restoring changed, in dB."""
        return self.psnr - self.input_psnr


@dataclass(frozen=True)
class Summary:
    """The images of one task: means, except `median_` and `seconds` (the median image; the first one warms up)."""

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
class Evaluation:
    """All scores, in the order in which the images were restored."""

    scores: list[Score] = field(default_factory=list)

    @property
    def summaries(self) -> list[Summary]:
        """One row per task, in the order in which the tasks came."""
        tasks = dict.fromkeys(score.task for score in self.scores)
        return [_summary(task, [score for score in self.scores if score.task == task]) for task in tasks]


def evaluate(
    restore: Callable[..., Tensor],
    cases: Sequence[Case],
    *,
    channel: Channel = "rgb",
    progress: Callable[[int, int, Score], None] | None = None,
    **options: Any,
) -> Evaluation:
    """Restore every case and compare it with its clean image.

    restore: a `Restorer`, or anything that turns degraded images (1, 3, H, W) in [0, 1] into restored ones; called
    with `options`, such as steps and seed. channel: "rgb", or "y" for luma. progress(done, total, score) is called
    after each image. Nothing is averaged over pixels of several images: each counts the same.
    """
    scores: list[Score] = []
    for case in cases:
        clean, degraded = (image[None] for image in case.load())
        began = time.perf_counter()
        restored = restore(degraded, **options)
        seconds = time.perf_counter() - began
        scores.append(
            Score(
                case.task,
                case.name,
                input_psnr=float(psnr(degraded, clean, channel)),
                psnr=float(psnr(restored, clean, channel)),
                input_ssim=float(ssim(degraded, clean, channel)),
                ssim=float(ssim(restored, clean, channel)),
                seconds=seconds,
            )
        )
        if progress is not None:
            progress(len(scores), len(cases), scores[-1])
    return Evaluation(scores)


def _summary(task: str, scores: list[Score]) -> Summary:
    def mean(name: str) -> float:
        return statistics.fmean(getattr(score, name) for score in scores)

    return Summary(
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
