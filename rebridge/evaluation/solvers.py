"""Zero-shot methods, IRBridge and trained bridges on the same measurements."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rebridge.denoisers import Counted, Denoiser
from rebridge.evaluation.baselines import Baseline
from rebridge.evaluation.metrics import psnr, ssim
from rebridge.evaluation.tables import Column
from rebridge.images import quantise
from rebridge.inverse.measurement import Measurement, OperatorSpec
from rebridge.inverse.methods.base import Method
from rebridge.inverse.operators import Operator
from rebridge.inverse.recommending import recommended_text
from rebridge.models import Model
from rebridge.restoration import Restorer
from rebridge.samplers import ImageNoise


@dataclass(frozen=True)
class SolverResult:
    """Quality of one way to restore the measurements of one operator.

    Attributes:
        task: the operator with its noise, as text.
        method: what restored.
        calls: evaluations of the network for each image, where they are known.
        psnr: mean over the images in dB; None where the method cannot use the operator.
        ssim: mean over the images.
        seconds: median over the images.
    """

    task: str
    method: str
    calls: int | None = None
    psnr: float | None = None
    ssim: float | None = None
    seconds: float | None = None


SOLVER_COLUMNS = (
    Column("task", "task"),
    Column("method", "method"),
    Column("calls", "calls", "d"),
    Column("psnr", "PSNR", ".2f"),
    Column("ssim", "SSIM", ".4f"),
    Column("seconds", "s/image", ".2f"),
)
"""Columns of a table of `SolverResult`s."""


@dataclass(frozen=True)
class MeasuredImage:
    """A clean image (1, C, H, W) in [0, 1] and its measurement.

    Attributes:
        clean: the image.
        operator: what measured it.
        y: (1, *measurement_shape).
    """

    clean: Tensor
    operator: Operator
    y: Tensor


def centre_square(image: Tensor, side: int) -> Tensor:
    """Cut the middle (C, side, side) out of an image; ValueError if smaller."""
    height, width = image.shape[-2:]
    if min(height, width) < side:
        raise ValueError(f"an image of {height} x {width} pixels has no crop of {side} x {side}")
    top, left = (height - side) // 2, (width - side) // 2
    return image[..., top : top + side, left : left + side]


def compare_solvers(
    images: Sequence[Tensor],
    specs: Sequence[OperatorSpec],
    methods: Mapping[str, Method | None],
    prior: Model,
    restorers: Mapping[str, Restorer],
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
    baselines: Mapping[str, Baseline] | None = None,
) -> list[SolverResult]:
    """Measure every image by every operator, and restore it in every way.

    Args:
        images: clean images (C, H, W) in [0, 1].
        specs: operators with their noise.
        methods: zero-shot methods by the names that they have in the results; None for the one that is recommended for
            each operator, whose own name is added.
        prior: the generative model of the zero-shot methods.
        restorers: IRBridge or trained bridges, which see the measurement as a picture.
        seed: of the noise of image 0; image i has seed + i.
        progress: called with (done, total, note) after each image and way.
        baselines: ways without a model, see `rebridge.evaluation.baselines`; left out where they make no sense.

    Returns:
        For each operator the measurement itself, where it is a picture, the baselines, then every way.
    """
    done, total = 0, len(specs) * len(images) * (len(methods) + len(restorers))

    def report(note: str, count: int = 1) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total, note)

    rows: list[SolverResult] = []
    for spec in specs:
        cases = [_measure(spec, image, seed + index) for index, image in enumerate(images)]
        shown = [case.operator.to_picture(case.y) for case in cases]
        pictures = [quantise(picture) for picture in shown if picture is not None]
        if pictures:
            rows.append(_summary(spec.text, "measured", None, cases, pictures, [0.0]))
        for name, way in (baselines or {}).items():
            rows += _simple(spec, name, way, cases)
        for name, method in methods.items():
            rows.append(_solved(spec, name, method, prior, cases, seed, report))
        for name, restorer in restorers.items():
            if pictures:
                rows.append(_restored(spec, name, restorer, pictures, cases, seed, report))
            else:
                report(f"{spec.text} {name}", len(images))
    return rows


def _measure(spec: OperatorSpec, image: Tensor, seed: int) -> MeasuredImage:
    clean = image[None]
    operator = spec.operator(image.shape)
    noise = ImageNoise([seed])(operator.A(clean))
    return MeasuredImage(clean, operator, spec.measure(operator, clean, noise))


def _solved(
    spec: OperatorSpec,
    name: str,
    method: Method | None,
    prior: Model,
    cases: Sequence[MeasuredImage],
    seed: int,
    report: Callable[[str], None],
) -> SolverResult:
    """Solve all cases by a zero-shot method; without figures where the method cannot use the operator."""
    restore = Restorer(prior)
    found, seconds, calls = [], [], 0
    if method is None:
        name = f"{name}: {recommended_text(cases[0].operator, spec.sigma_y)}"
    for case in cases:
        if (method is None or method.fits(case.operator)) and case.operator.shape[0] == prior.info.channels:
            began = time.perf_counter()
            samples = restore.sample(Measurement(case.y, case.operator, spec.sigma_y), 1, seed=seed, method=method)
            seconds.append(time.perf_counter() - began)
            found.append(samples.mean.to(case.clean))
            calls = samples.calls
        report(f"{spec.text} {name}")
    return _summary(spec.text, name, calls, cases, found, seconds) if found else SolverResult(spec.text, name)


def _simple(spec: OperatorSpec, name: str, way: Baseline, cases: Sequence[MeasuredImage]) -> list[SolverResult]:
    """Restore all cases without a model; no row where that makes no sense."""
    found, seconds = [], []
    for case in cases:
        began = time.perf_counter()
        restored = way(case.operator, case.y, spec.sigma_y)
        seconds.append(time.perf_counter() - began)
        if restored is None:
            return []
        found.append(restored)
    return [_summary(spec.text, name, None, cases, found, seconds)]


def _restored(
    spec: OperatorSpec,
    name: str,
    restorer: Restorer,
    pictures: Sequence[Tensor],
    cases: Sequence[MeasuredImage],
    seed: int,
    report: Callable[[str], None],
) -> SolverResult:
    """Restore the pictures of all cases by a bridge that does not know the operator."""
    counters: list[Counted] = []

    def counting(denoiser: Denoiser) -> Denoiser:
        counters.append(Counted(denoiser))
        return counters[-1]

    restore: Any = restorer.wrapped(counting)
    found, seconds = [], []
    for picture in pictures:
        began = time.perf_counter()
        found.append(restore(picture, seed=seed))
        seconds.append(time.perf_counter() - began)
        report(f"{spec.text} {name}")
    calls = sum(counter.calls for counter in counters) // len(found)
    return _summary(spec.text, name, calls, cases, found, seconds)


def _summary(
    task: str,
    method: str,
    calls: int | None,
    cases: Sequence[MeasuredImage],
    found: Sequence[Tensor],
    seconds: Sequence[float],
) -> SolverResult:
    """Average the quality of the restored images."""
    pairs = [(image, case.clean) for image, case in zip(found, cases, strict=True)]
    quality = torch.cat([psnr(*pair) for pair in pairs]).mean().item()
    likeness = torch.cat([ssim(*pair) for pair in pairs]).mean().item()
    return SolverResult(task, method, calls, quality, likeness, statistics.median(seconds))
