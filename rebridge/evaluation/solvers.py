"""All ways to restore the same measurements side by side: zero-shot solvers, IRBridge, and trained bridges."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rebridge.denoisers import Denoiser
from rebridge.evaluation.compare import Counted
from rebridge.evaluation.metrics import psnr, quantise, ssim
from rebridge.evaluation.tables import Column
from rebridge.restoration import Restorer
from rebridge.samplers.noise import ImageNoise
from rebridge.inverse.operators import Operator
from rebridge.inverse.problem import Solver
from rebridge.restoration.solve import check_fit, solve
from rebridge.inverse.measurement import Task, picture
from rebridge.restoration.unconditional import Unconditional

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Result:
    """Means over the images of a task; seconds are a median. calls: of the network for each image, where they are known."""

    task: str
    method: str
    calls: int | None
    psnr: float | None
    ssim: float | None
    seconds: float | None


COLUMNS = (
    Column("task", "task"),
    Column("method", "method"),
    Column("calls", "calls", "d"),
    Column("psnr", "PSNR", ".2f"),
    Column("ssim", "SSIM", ".4f"),
    Column("seconds", "s/image", ".2f"),
)
"""Columns of a table of results."""


def centre_crop(image: Tensor, side: int) -> Tensor:
    """The middle (C, side, side) of an image (C, H, W). Raises ValueError for a smaller one."""
    height, width = image.shape[-2:]
    if min(height, width) < side:
        raise ValueError(f"an image of {height} x {width} pixels has no crop of {side} x {side}")
    top, left = (height - side) // 2, (width - side) // 2
    return image[..., top : top + side, left : left + side]


def compare_solvers(
    images: Sequence[Tensor],
    tasks: Sequence[Task],
    solvers: Mapping[str, Solver],
    prior: Unconditional,
    restorers: Mapping[str, Restorer],
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Result]:
    """Measure every image (C, H, W) in [0, 1] by every task, and restore it in every way.

    restorers: IRBridge or trained bridges, which see the measurement as a picture. The first row of each task is that picture
    itself. A way that a task does not allow (ddrm without a decomposition) has no figures.
    """
    rows: list[Result] = []
    done, total = 0, len(tasks) * len(images) * (len(solvers) + len(restorers))
    for task in tasks:
        cases = [_measured(task, image, seed + index) for index, image in enumerate(images)]
        shown = [picture(operator, y, task.scale) for _, operator, y in cases]
        pictures = [quantise(found) for found in shown if found is not None]
        if pictures:
            rows.append(_row(task.text, "measured", None, cases, pictures, [0.0]))
        for name, solver in solvers.items():
            found, seconds, calls = [], [], 0
            for clean, operator, y in cases:
                try:
                    check_fit(solver, operator, prior)
                except ValueError:
                    break
                began = time.perf_counter()
                solution = solve(y, operator, prior, solver, sigma_y=task.sigma_y, seed=seed)
                seconds.append(time.perf_counter() - began)
                found.append(solution.mean.to(clean))
                calls = solution.calls
                done += 1
                _tell(progress, done, total, f"{task.text} {name}")
            if found:
                rows.append(_row(task.text, name, calls, cases, found, seconds))
            else:
                rows.append(Result(task.text, name, None, None, None, None))
        for name, restorer in restorers.items():
            found, seconds = [], []
            asked: list[Counted] = []
            restore = restorer.wrapped(partial(_counted, asked))
            for degraded in pictures:
                began = time.perf_counter()
                found.append(restore(degraded, seed=seed))
                seconds.append(time.perf_counter() - began)
                done += 1
                _tell(progress, done, total, f"{task.text} {name}")
            if found:
                calls = sum(counter.calls for counter in asked) // len(found)
                rows.append(_row(task.text, name, calls, cases, found, seconds))
    return rows


def _counted(asked: list[Counted], denoiser: Denoiser) -> Denoiser:
    asked.append(Counted(denoiser))
    return asked[-1]


def _measured(task: Task, image: Tensor, seed: int) -> tuple[Tensor, Operator, Tensor]:
    clean = image[None]
    operator = task.operator(image.shape)
    noise = ImageNoise([seed])(operator.A(clean))
    return clean, operator, task.measure(operator, clean, noise)


def _row(
    task: str,
    method: str,
    calls: int | None,
    cases: Sequence[tuple[Tensor, Operator, Tensor]],
    found: Sequence[Tensor],
    seconds: Sequence[float],
) -> Result:
    pairs = [(image, clean) for image, (clean, _, _) in zip(found, cases, strict=True)]
    quality = torch.cat([psnr(*pair) for pair in pairs]).mean().item()
    likeness = torch.cat([ssim(*pair) for pair in pairs]).mean().item()
    return Result(task, method, calls, quality, likeness, statistics.median(seconds))


def _tell(progress: Progress | None, done: int, total: int, note: str) -> None:
    if progress is not None:
        progress(done, total, note)
