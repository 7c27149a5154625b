"""Command `evaluate`: a model measured on images of known clean version."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rebridge.commands.conditions import check_conditions, conditions_of_file, drawn_conditions
from rebridge.commands.flags import flag_of
from rebridge.commands.opening import check_noise, check_sampling, open_restorer
from rebridge.commands.options import CaseOptions, EvaluateOptions
from rebridge.commands.progress import Reporter, cancellable
from rebridge.evaluation import (
    Case,
    Evaluation,
    Score,
    Scoring,
    evaluate_results,
    evaluate_tasks,
    paired_cases,
    synthetic_cases,
    with_conditions,
)
from rebridge.evaluation.evaluate import GAIN_KEYS, IMAGE_COLUMNS, RESTORER_KEYS, SHOWN_COLUMNS, TASK_COLUMNS
from rebridge.evaluation.results import result_cases
from rebridge.evaluation.tables import Column, record
from rebridge.images import reason
from rebridge.models import Model

_Item = TypeVar("_Item")

OF_RESULTS = (
    "results", "truth", "pairs", "layout", "suffix", "limit", "channel", "border", "window", "truncate", "metrics",
)  # fmt: skip
"""Options that go with results made elsewhere."""


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of a model, and how they were made.

    Attributes:
        evaluation: scores by image, and means by task.
        model, sampler, steps: what was measured; None of results made elsewhere.
        seed: of the degradations and the sampler.
        scoring: how it was measured.
        note: a sentence that the user should know, or None.
    """

    evaluation: Evaluation
    model: str | None
    sampler: str | None
    steps: int | None
    seed: int
    scoring: Scoring
    note: str | None = None

    @property
    def channel(self) -> str:
        """Channel that was compared."""
        return self.scoring.channel

    @property
    def record(self) -> dict[str, Any]:
        """All of it in plain data, as JSON takes it."""
        about = {key: getattr(self, key) for key in ("model", "sampler", "steps", "seed", "channel")}
        tasks = [record(row.row, self.columns(False)) for row in self.evaluation.summaries]
        images = [record(row.row, self.columns(True)) for row in self.evaluation.scores]
        failures = [vars(failure) for failure in self.evaluation.failures]
        return {**about, "tasks": tasks, "images": images, "failures": failures}

    def columns(self, per_image: bool, shown: bool = False) -> list[Column]:
        """List the columns of a table of images or of tasks.

        shown: those that fit on a terminal.
        """
        base = IMAGE_COLUMNS if per_image else SHOWN_COLUMNS if shown else TASK_COLUMNS
        left_out = [] if self.model is not None else [*RESTORER_KEYS]
        if self.model is None and all(math.isnan(score.input_psnr) for score in self.evaluation.scores):
            left_out += GAIN_KEYS
        kept = [column for column in base if column.key not in left_out]
        return [*kept, *self.scoring.columns]


def evaluate(options: EvaluateOptions, progress: Reporter | None = None) -> EvaluationResult:
    """Restore images whose clean version is known, and score the results.

    Args:
        options: of this command.
        progress: called after each image; raise from it to cancel.

    Raises:
        ValueError: options that contradict each other, an unknown task, or no images.
    """
    scoring = Scoring(options.channel, options.border, options.window, options.truncate, tuple(options.metrics))
    if options.results is not None or options.truth is not None:
        return _results(options, scoring, progress)
    check_cases(options)
    if options.pairs is not None and options.tasks:
        raise ValueError("--task degrades the images of --clean; --pairs are degraded already")
    if options.clean is None and options.pairs is None:
        raise ValueError("give --clean DIR to degrade clean images, or --pairs DIR for real pairs")
    opened = open_restorer(options)
    restorer = opened.restorer
    sampler = check_sampling(restorer, options, options.sampler)
    check_noise(restorer, sampler, options, seeded=options.pairs is not None)
    cases = _told_cases(options, restorer.model)
    settings: dict[str, Any] = {"steps": options.steps, "seed": options.noise_seed, "sampler": options.sampler}
    settings |= {"tile": options.tile, "overlap": options.overlap, "samples": options.samples}
    with cancellable(progress) as report:

        def scored(done: int, total: int, score: Score) -> None:
            report(done, total, f"{score.task} {score.name} {score.psnr:.2f} dB")

        found = evaluate_tasks(
            restorer,
            cases,
            scoring=scoring,
            progress=scored,
            harm=options.harm,
            plain=options.baselines,
            **settings,
        )
    name = options.sampler or sampler.name
    return EvaluationResult(found, opened.name, name, sampler.steps, options.noise_seed, scoring, opened.note)


def _told_cases(options: EvaluateOptions, model: Model) -> list[Case]:
    """The images, each with the extra conditions that the model needs.

    A number that is not given, and is a parameter of every task, is drawn from the parameter's range, used and told.
    """
    tasks, given = options.tasks or model.tasks, options.conditions
    drawn: list[str] = []
    if options.pairs is None:
        drawn = drawn_conditions(model, given, tasks)
    check_conditions(model, {**dict.fromkeys(drawn, 0), **(given or {})})
    cases = cases_of(options, tasks, options.noise_seed, options.limit, model.info.channels, drawn)
    return told_cases(cases, model, given or {}, drawn)


def _results(options: EvaluateOptions, scoring: Scoring, progress: Reporter | None) -> EvaluationResult:
    """Score results made elsewhere."""
    if options.results is None or (options.truth is None) == (options.pairs is None):
        raise ValueError("--results DIR goes with --truth DIR, or with --pairs DIR to know what the results gained")
    for field in fields(options):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.name not in OF_RESULTS and getattr(options, field.name) != default:
            raise ValueError(f"{flag_of(field.name)} is of no use with --results, which are compared as they are")
    check_cases(options)
    truth = options.truth or _pairs(options)
    cases, without = result_cases(options.results, truth, options.suffix, options.limit)
    with cancellable(progress) as report:

        def scored(done: int, total: int, score: Score) -> None:
            report(done, total, f"{score.name} {score.psnr:.2f} dB")

        found = evaluate_results(cases, scoring=scoring, progress=scored)
    note = f"{without} true images have no result" if without else None
    return EvaluationResult(found, None, None, None, options.noise_seed, scoring, note)


def _pairs(options: EvaluateOptions) -> list[Case]:
    """Real pairs, named without the folder of the degraded images."""
    assert options.pairs is not None
    cases = paired_cases(options.pairs, options.layout)
    begin = 1 if options.layout is None else 0
    return [replace(case, name=Path(*Path(case.name).parts[begin:]).as_posix()) for case in cases]


def check_cases(options: CaseOptions) -> None:
    """Raise ValueError where clean images, pairs and a layout contradict each other."""
    if options.clean is not None and options.pairs is not None:
        raise ValueError("give only one of --clean and --pairs")
    if options.layout is not None and options.pairs is None:
        raise ValueError("--layout says how --pairs lie on disk, and is of no use without")


def told_cases(cases: Sequence[Case], model: Model, own: Mapping[str, Any], drawn: Sequence[str] = ()) -> list[Case]:
    """Give cases the conditions of a model, and leave out what others are told.

    Args:
        cases: images with what degradations drew for them.
        model: what declares conditions.
        own: those of its conditions that are given.
        drawn: numbers that degradations draw.

    Raises:
        ValueError: as in `check_conditions`.
    """
    numbers = {name: 0 for name in drawn if name in model.info.conditions}
    check_conditions(model, {**numbers, **own})
    told = with_conditions(cases, partial(conditions_of_file, model=model, given=own)) if own else cases
    return [replace(case, conditions=partial(_declared, case, model)) for case in told]


def _declared(case: Case, model: Model) -> Mapping[str, Any]:
    return {name: value for name, value in case.conditions().items() if name in model.info.conditions}


def cases_of(
    options: CaseOptions,
    tasks: Sequence[str],
    seed: int,
    limit: int | None,
    channels: int = 3,
    told: Sequence[str] = (),
) -> list[Case]:
    """List the cases that the options mean; ValueError where there are none."""
    if options.pairs is not None:
        return paired_cases(
            options.pairs, options.layout, task=next(iter(options.tasks), "pairs"), limit=limit, channels=channels
        )
    assert options.clean is not None
    return synthetic_cases(options.clean, list(tasks), seed, limit, channels, told)


def readable(items: Sequence[_Item], load: Callable[[_Item], object], notes: list[str]) -> list[_Item]:
    """Keep the images that can be loaded.

    The others are noted; the last one's error is raised where none is left.
    """
    kept: list[_Item] = []
    for number, item in enumerate(items, start=1):
        try:
            load(item)
        except Exception as error:  # one bad file must not end the run, whatever is wrong with it
            notes.append(f"left out: {reason(error)}")
            if number == len(items) and not kept:
                raise
        else:
            kept.append(item)
    return kept
