"""Compare bridges, samplers and numbers of steps over several seeds.

Quality is set against network calls and seconds. Two kinds of comparison, neither of which trains anything. *Models*: trained
models restore the same degraded images; quality is PSNR in dB (higher is better). *Analytic*: every bridge of the catalogue
restores the same Gaussian problem with its exact denoiser; quality is the Frechet distance between the samples and the exact
posterior (lower is better, 0 for perfect samples),

    d^2 = |m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2)
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.catalogue import Spec
from rebridge.denoisers import Counted, Denoiser, GaussianDenoiser
from rebridge.evaluation.cases import Case
from rebridge.evaluation.frechet import Statistics, frechet_distance
from rebridge.evaluation.metrics import psnr
from rebridge.evaluation.tables import Column
from rebridge.restoration import Restorer
from rebridge.samplers import Sampler

T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 97.5 % for 1 to 10 degrees of freedom; 1.96 is used beyond."""

Noted = Callable[[int, int, str], None]
"""Called as (done, total, note) after each run."""


@dataclass(frozen=True)
class SeedScore:
    """Calls, seconds and quality of one sampler with one seed.

    Attributes:
        subject: the model or bridge.
        sampler: as written.
        steps, seed: of the run.
        nfe: network calls.
        seconds: of work.
        quality: PSNR in dB, or the distance to the exact posterior.
    """

    subject: str
    sampler: str
    steps: int
    seed: int
    nfe: int
    seconds: float
    quality: float


@dataclass(frozen=True)
class SamplerScores:
    """Mean quality of one sampler over all seeds, with its 95 % confidence interval."""

    subject: str
    sampler: str
    steps: int
    nfe: int
    seconds: float
    quality: float
    low: float
    high: float
    seeds: int


SAMPLER_COLUMNS = (
    Column("subject", "subject"),
    Column("sampler", "sampler"),
    Column("steps", "steps", "d"),
    Column("nfe", "NFE", "d"),
    Column("seconds", "seconds", ".4f"),
    Column("quality", "quality", ".4f"),
    Column("low", "95 % from", ".4f"),
    Column("high", "to", ".4f"),
    Column("seeds", "seeds", "d"),
)
"""Columns of a table of `SamplerScores`."""


def compare_models(
    restorers: Mapping[str, Restorer],
    specs: Sequence[Spec],
    steps: Sequence[int],
    seeds: Sequence[int],
    cases: Sequence[Case] | Mapping[str, Sequence[Case]],
    progress: Noted | None = None,
) -> list[SeedScore]:
    """Restore every case with every model, sampler, number of steps and seed.

    Quality is the mean PSNR over the cases. Seconds and NFE are per image.

    Args:
        restorers: by the name that the table shows; one made from a preset takes its settings for each case's task.
        specs: samplers. They have these parameters alone; "irbridge" keeps the preset's beside them.
        steps: numbers of steps.
        seeds: of the restorations.
        cases: the images; by the names of the restorers where each is told something else of them.
        progress: called after each run.

    Raises:
        ValueError: a sampler that does not fit, before anything is restored.
    """
    plan = [(name, spec, count) for name in restorers for spec in specs for count in steps]
    for name, spec, count in plan:
        restorers[name].check(_sampler(restorers[name], spec, count))
    own = cases if isinstance(cases, Mapping) else dict.fromkeys(restorers, cases)
    scores: list[SeedScore] = []
    for name, spec, count in plan:
        for seed in seeds:
            scores.append(_restored(name, restorers[name], spec, count, seed, own[name]))
            if progress is not None:
                note = f"{name} {spec.text} {count} steps {scores[-1].quality:.2f} dB"
                progress(len(scores), len(plan) * len(seeds), note)
    return scores


def compare_analytic(
    processes: Sequence[Spec],
    specs: Sequence[Spec],
    steps: Sequence[int],
    seeds: Sequence[int],
    count: int = 4000,
    dimension: int = 4,
    progress: Noted | None = None,
) -> list[SeedScore]:
    """Sample the posterior of one Gaussian problem with every bridge and sampler.

    The problem, (x0, y) of `dimension` numbers each, is the same for all; each seed draws its own y and noise. Pairs that
    cannot be are left out. A perfect sampler shows about sqrt(dimension / count).

    Args:
        processes: bridges.
        specs: samplers.
        steps: numbers of steps.
        seeds: of y and noise.
        count: samples per run.
        dimension: of x0 and of y.
        progress: called after each run.
    """
    problem = gaussian_problem(dimension)
    plan = [(process, spec, n) for process in processes for spec in specs for n in steps]
    plan = [(process, spec, n) for process, spec, n in plan if _created(spec, n).fits(_bridge(process))]
    scores: list[SeedScore] = []
    for process, spec, n in plan:
        for seed in seeds:
            scores.append(_sampled(process, spec, n, seed, count, problem))
            if progress is not None:
                note = f"{process.text} {spec.text} {n} steps {scores[-1].quality:.4f}"
                progress(len(scores), len(plan) * len(seeds), note)
    return scores


def summarise(scores: Iterable[SeedScore]) -> list[SamplerScores]:
    """Average over seeds, per subject, sampler and steps; seconds are medians."""
    groups: dict[tuple[str, str, int], list[SeedScore]] = {}
    for score in scores:
        groups.setdefault((score.subject, score.sampler, score.steps), []).append(score)
    rows = []
    for (subject, sampler, steps), group in groups.items():
        values = [score.quality for score in group]
        mean = statistics.fmean(values)
        half = 0.0
        if len(values) > 1:
            freedom = len(values) - 1
            quantile = T_QUANTILES[freedom - 1] if freedom <= len(T_QUANTILES) else 1.96
            half = quantile * statistics.stdev(values) / math.sqrt(len(values))
        seconds = statistics.median(score.seconds for score in group)
        rows.append(
            SamplerScores(subject, sampler, steps, group[0].nfe, seconds, mean, mean - half, mean + half, len(values))
        )
    return rows


def gaussian_problem(dimension: int) -> tuple[Tensor, Tensor]:
    """Make mean and covariance of (x0, y), float64.

    x0 is smooth with standard deviation 0.5, and y = 0.8 x0 + 0.1 + noise of standard deviation 0.2.
    """
    place = torch.arange(dimension, dtype=torch.float64)
    clean = 0.25 * torch.exp(-(place[:, None] - place).abs() / 2)
    identity = torch.eye(dimension, dtype=torch.float64)
    covariance = torch.cat(
        [torch.cat([clean, 0.8 * clean], 1), torch.cat([0.8 * clean, 0.64 * clean + 0.04 * identity], 1)]
    )
    mean = torch.cat([torch.zeros(dimension), torch.full((dimension,), 0.1)]).double()
    return mean, covariance


def _restored(name: str, restorer: Restorer, spec: Spec, steps: int, seed: int, cases: Sequence[Case]) -> SeedScore:
    counts: list[Counted] = []

    def counted(denoiser: Denoiser) -> Denoiser:
        counts.append(Counted(denoiser))
        return counts[-1]

    qualities, seconds = [], 0.0
    for case in cases:
        restore = restorer.for_task(case.task).wrapped(counted)
        clean, degraded = (image[None] for image in case.load())
        told = case.conditions()
        began = time.perf_counter()
        restored = restore(degraded, seed=seed, sampler=_sampler(restore, spec, steps), **told)
        seconds += time.perf_counter() - began
        qualities.append(float(psnr(restored, clean)))
    calls = sum(part.calls for part in counts) // len(cases)
    return SeedScore(name, spec.text, steps, seed, calls, seconds / len(cases), statistics.fmean(qualities))


def _sampled(process: Spec, spec: Spec, steps: int, seed: int, count: int, problem: tuple[Tensor, Tensor]) -> SeedScore:
    mean, covariance = problem
    dimension = len(mean) // 2
    bridge = _bridge(process)
    denoiser = GaussianDenoiser(bridge, mean, covariance)
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(2 * dimension, generator=generator, dtype=torch.float64)
    pair = mean + torch.linalg.cholesky(covariance) @ normal
    y = pair[dimension:].expand(count, -1).contiguous()
    counted = Counted(denoiser)
    began = time.perf_counter()
    samples = _created(spec, steps)(bridge, counted, y, generator=generator)
    seconds = time.perf_counter() - began
    _, means, covariances = denoiser.posterior(y[:1])
    found = Statistics(samples.mean(0), samples.T.cov(), count)
    distance = frechet_distance(found, Statistics(means[0, 0], covariances[0], count))
    return SeedScore(process.text, spec.text, steps, seed, counted.calls, seconds, math.sqrt(distance))


def _bridge(spec: Spec) -> bridges.Bridge:
    return bridges.create(spec.name, **spec.params)


def _created(spec: Spec, steps: int) -> Sampler:
    return samplers.create(spec.name, **{**spec.params, "steps": steps})


def _sampler(restorer: Restorer, spec: Spec, steps: int) -> Sampler:
    """The sampler with these parameters alone; one that evaluates a prior keeps what its preset says beside them."""
    created = _created(spec, steps)
    if created.evaluates_prior:
        return restorer.sampler({"name": spec.name, **spec.params}, steps)
    return restorer.sampler(created)
