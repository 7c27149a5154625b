"""Command `tune`: the settings of a generative model that restore a task best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rebridge.commands.conditions import check_conditions
from rebridge.commands.evaluate import cases_of, check_cases, readable, told_cases
from rebridge.commands.opening import open_prior
from rebridge.commands.options import TuneOptions
from rebridge.commands.progress import Reporter, cancellable
from rebridge.evaluation import tuning
from rebridge.evaluation.tuning import Tuned
from rebridge.images import check_folder
from rebridge.irbridge.presets import read_presets


@dataclass(frozen=True)
class TuneResult:
    """The best settings by task, and the file that holds them.

    Attributes:
        tasks: settings, scores and trials, one entry a task.
        output: the file, to be used as a preset.
        base: preset that the search began from.
        note: what the user should know, such as images that were left out, or None.
    """

    tasks: list[Tuned]
    output: Path
    base: str
    note: str | None = None


def tune(options: TuneOptions, progress: Reporter | None = None) -> TuneResult:
    """Search the settings that restore a few pairs best, and write them task by task.

    Args:
        options: of this command.
        progress: called after each trial; raise from it to cancel. Tasks that are done stay written.

    Raises:
        ValueError: impossible options, an unknown setting, or no images.
    """
    check_cases(options)
    if (options.clean is None and options.pairs is None) or (options.clean is not None and not options.tasks):
        raise ValueError("give --clean DIR and --task T, or --pairs DIR")
    if options.output.suffix != ".json":
        raise ValueError(f"the settings go into a file that ends in .json, got {options.output}")
    if options.rounds < 1 or options.steps < 2:
        raise ValueError(f"rounds must be at least 1 and steps at least 2, got {options.rounds} and {options.steps}")
    search = searched(options.search)
    if options.output.exists():
        read_presets(options.output)
    check_folder(options.output.parent)
    model = open_prior(options.model, options)
    check_conditions(model, options.conditions)
    cases = cases_of(options, options.tasks, options.seed, options.limit)
    settings: dict[str, Any] = {"base": options.base, "steps": options.steps, "seed": options.seed}
    settings |= {"search": search, "rounds": options.rounds}
    results: list[Tuned] = []
    notes = [] if model.info.conditional else [f"{options.model} does not see the degraded image"]
    cases = told_cases(readable(cases, lambda case: case.load(), notes), model, options.conditions or {})
    with cancellable(progress) as report:
        for task in dict.fromkeys(case.task for case in cases):
            group = [case for case in cases if case.task == task]
            results.append(tuning.tune(model, task, group, **settings, progress=report))
            tuning.write_presets(options.output, results[-1:])
    return TuneResult(results, options.output, options.base, "; ".join(notes) or None)


def searched(chosen: Mapping[str, Sequence[Any]] | None) -> Mapping[str, Sequence[Any]]:
    """Complete a search: a setting without choices takes all known ones."""
    if not chosen:
        return tuning.SEARCH
    for key in chosen:
        if key not in tuning.SEARCH:
            raise ValueError(f"--search takes {', '.join(tuning.SEARCH)}, got '{key}'")
    return {key: choices or tuning.SEARCH[key] for key, choices in chosen.items()}
