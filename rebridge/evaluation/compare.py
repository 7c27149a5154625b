"""Compare bridges, samplers and numbers of steps: quality against network calls and seconds, over several seeds.

Two kinds of comparison, neither of which trains anything. *Models*: trained models restore the same degraded images; quality is
PSNR in dB (higher is better). *Analytic*: every bridge of the catalogue walks the same Gaussian problem with its exact
denoiser; quality is the Frechet distance between the samples and the exact posterior (lower is better, 0 for perfect samples),

    d^2 = |m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2)
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser, Estimate, GaussianDenoiser
from rebridge.evaluation.cases import Case
from rebridge.evaluation.frechet import Statistics, frechet_distance
from rebridge.evaluation.metrics import psnr
from rebridge.evaluation.tables import Column
from rebridge.restoration import Restorer
from rebridge.samplers import Sampler

T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 97.5 % for 1 to 10 degrees of freedom; 1.96 is used beyond."""


@dataclass(frozen=True)
class Run:
    """One walk of one seed: the network calls it made, its seconds, its quality."""

    subject: str
    sampler: str
    steps: int
    seed: int
    nfe: int
    seconds: float
    quality: float


@dataclass(frozen=True)
class Summary:
    """All seeds of one subject, sampler and number of steps: mean quality with its 95 % confidence interval."""

    subject: str
    sampler: str
    steps: int
    nfe: int
    seconds: float
    quality: float
    low: float
    high: float
    seeds: int


SUMMARY = (
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
"""Columns of a table of summaries."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Spec:
    """A name of a catalogue with parameters, as written on a command line: "dbim:eta=1,order=1"."""

    text: str
    name: str
    params: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read "name" or "name:key=value,key=value"; numbers, true and false are recognised. ValueError if malformed."""
        name, _, rest = text.partition(":")
        params: dict[str, Any] = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            if not (key and equals and value):
                raise ValueError(f"{text!r} is not of the form name:key=value,key=value")
            params[key.strip()] = value_of(value.strip())
        return cls(text, name.strip(), params)

    def bridge(self) -> Bridge:
        """The bridge of that name."""
        return bridges.create(self.name, **self.params)

    def sampler(self, steps: int) -> Sampler:
        """The sampler of that name with so many steps."""
        return samplers.create(self.name, **{**self.params, "steps": steps})


class Counted:
    """A denoiser that counts how often it is asked."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.calls = 0

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor | Estimate:
        self.calls += 1
        return self.denoiser(x_t, t, y)


def compare_models(
    restorers: Mapping[str, Restorer],
    walks: Sequence[Spec],
    steps: Sequence[int],
    seeds: Sequence[int],
    cases: Sequence[Case],
    progress: Progress | None = None,
) -> list[Run]:
    """Restore every case with every model, sampler, number of steps and seed; quality is the mean PSNR over the cases.

    A generative prior (`IRBridgeRestorer`) has samplers of its own beside the catalogue's: irbridge, and the baselines ddim and
    sdedit, with the settings its preset has for each case's task. seconds and NFE are per image. Raises ValueError for an
    impossible pair before anything is restored.
    """
    plan = [(name, walk, count) for name in restorers for walk in walks for count in steps]
    for name, walk, count in plan:
        _walk_of(restorers[name], walk, count).check(restorers[name].bridge)
    runs: list[Run] = []
    total = len(plan) * len(seeds)
    for name, walk, count in plan:
        original = restorers[name]
        for seed in seeds:
            tally: list[Counted] = []

            def counted(denoiser: Denoiser, tally: list[Counted] = tally) -> Denoiser:
                tally.append(Counted(denoiser))
                return tally[-1]

            scores, seconds = [], 0.0
            for case in cases:
                restore = original.for_task(case.task).wrapped(counted)
                clean, degraded = (image[None] for image in case.load())
                began = time.perf_counter()
                restored = restore(degraded, seed=seed, sampler=_walk_of(restore, walk, count))
                seconds += time.perf_counter() - began
                scores.append(float(psnr(restored, clean)))
            run = Run(
                name,
                walk.text,
                count,
                seed,
                sum(part.calls for part in tally) // len(cases),
                seconds / len(cases),
                statistics.fmean(scores),
            )
            runs.append(run)
            if progress is not None:
                progress(len(runs), total, f"{name} {walk.text} {count} steps {run.quality:.2f} dB")
    return runs


def compare_analytic(
    processes: Sequence[Spec],
    walks: Sequence[Spec],
    steps: Sequence[int],
    seeds: Sequence[int],
    count: int = 4000,
    dimension: int = 4,
    progress: Progress | None = None,
) -> list[Run]:
    """Sample the posterior of one Gaussian problem with every possible pair of bridge and sampler.

    The problem, (x0, y) of `dimension` numbers each, is the same for all; each seed draws its own y and noise.
    count: samples per run;
    a perfect sampler shows about sqrt(dimension / count). Pairs that cannot be are left out.
    """
    mean, covariance = gaussian_problem(dimension)
    plan = [(process, walk, n) for process in processes for walk in walks for n in steps]
    plan = [(process, walk, n) for process, walk, n in plan if walk.sampler(n).fits(process.bridge())]
    runs: list[Run] = []
    for process, walk, n in plan:
        bridge = process.bridge()
        denoiser = GaussianDenoiser(bridge, mean, covariance)
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            pair = mean + torch.linalg.cholesky(covariance) @ torch.randn(
                2 * dimension, generator=generator, dtype=torch.float64
            )
            y = pair[dimension:].expand(count, -1).contiguous()
            counted = Counted(denoiser)
            began = time.perf_counter()
            samples = walk.sampler(n)(bridge, counted, y, generator=generator)
            seconds = time.perf_counter() - began
            _, means, covariances = denoiser.posterior(y[:1])
            quality = math.sqrt(
                frechet_distance(
                    Statistics(samples.mean(0), samples.T.cov(), count), Statistics(means[0, 0], covariances[0], count)
                )
            )
            runs.append(Run(process.text, walk.text, n, seed, counted.calls, seconds, quality))
            if progress is not None:
                progress(len(runs), len(plan) * len(seeds), f"{process.text} {walk.text} {n} steps {quality:.4f}")
    return runs


def gaussian_problem(dimension: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of (x0, y): smooth x0 with standard deviation 0.5, y = 0.8 x0 + 0.1 + noise of 0.2; float64."""
    place = torch.arange(dimension, dtype=torch.float64)
    clean = 0.25 * torch.exp(-(place[:, None] - place).abs() / 2)
    identity = torch.eye(dimension, dtype=torch.float64)
    covariance = torch.cat(
        [torch.cat([clean, 0.8 * clean], 1), torch.cat([0.8 * clean, 0.64 * clean + 0.04 * identity], 1)]
    )
    mean = torch.cat([torch.zeros(dimension), torch.full((dimension,), 0.1)]).double()
    return mean, covariance


def summarise(runs: Iterable[Run]) -> list[Summary]:
    """One row per subject, sampler and number of steps, in the order of the runs; seconds are medians over the seeds."""
    groups: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.subject, run.sampler, run.steps), []).append(run)
    rows = []
    for (subject, sampler, steps), group in groups.items():
        values = [run.quality for run in group]
        mean = statistics.fmean(values)
        half = 0.0
        if len(values) > 1:
            freedom = len(values) - 1
            quantile = T_QUANTILES[freedom - 1] if freedom <= len(T_QUANTILES) else 1.96
            half = quantile * statistics.stdev(values) / math.sqrt(len(values))
        seconds = statistics.median(run.seconds for run in group)
        rows.append(
            Summary(subject, sampler, steps, group[0].nfe, seconds, mean, mean - half, mean + half, len(values))
        )
    return rows


def _walk_of(restorer: Restorer, walk: Spec, steps: int) -> Sampler:
    """The sampler with these parameters alone; of a prior's own, "irbridge" keeps what its preset says beside them."""
    if walk.name in samplers.names():
        return restorer.sampler(walk.sampler(steps))
    return restorer.sampler({"name": walk.name, **walk.params}, steps)


def value_of(text: str) -> Any:
    """What is written on a command line as a value: true, false, none, a number, or else the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() in ("none", "null"):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
