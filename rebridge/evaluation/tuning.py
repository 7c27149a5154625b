"""Choose a generative model's settings for a task on a handful of pairs.

Searched are the schedule above all, then the bridge's noise and the start. The paper chose its schedules the same way, on four
images (arXiv 2505.24406, appendix D). A coordinate search: one setting after the other, each over all its choices with the best
of the others so far, `ROUNDS` times. The winner goes into a file of presets:

    {"format": 1, "tasks": {"rain": {"schedule": "critical+300", "highest": 2.0, ...}}}

which `rebridge.irbridge.preset` takes by its path. The measure is PSNR, so what wins tends
to smooth; see `rebridge.samplers.prior_schedules`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rebridge.evaluation.cases import Case
from rebridge.evaluation.metrics import psnr
from rebridge.evaluation.tables import Column
from rebridge.images.atomic import write_atomic
from rebridge.irbridge.presets import PRESET_FORMAT, chosen_preset, preset, read_presets
from rebridge.models import Model
from rebridge.restoration import Restorer
from rebridge.samplers.prior_schedules import PAPERS

ROUNDS = 2
SEARCH: dict[str, tuple[Any, ...]] = {
    "schedule": ("critical", *PAPERS),
    "start": ("estimate", "y", "noise"),
    "highest": (None, 0.02, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
    "lam": (0.5 / 255, 1 / 255, 2 / 255, 5 / 255, 10 / 255),
    "eta": (0.0, 0.5, 1.0),
    "grid": ("log-snr", "uniform"),
}
"""Settings that are tried, in this order: `lam` is the bridge's, the others
are parameters of `IRBridge`; eta is the reverse's sigma."""


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        setting, value: the change to the preset.
        psnr: mean in dB, or None where the setting is impossible.
        problem: the reason why it is impossible.
    """

    setting: str
    value: Any
    psnr: float | None
    problem: str = ""


@dataclass(frozen=True)
class Tuned:
    """The best settings for a task.

    Attributes:
        task: the degradation.
        base: the preset that the search began from.
        settings: changes to it.
        psnr, before: mean PSNR in dB with the changes and without.
        trials: all that was tried.
    """

    task: str
    base: str
    settings: dict[str, Any]
    psnr: float
    before: float
    trials: list[Trial]


TRIAL_COLUMNS = (
    Column("setting", "setting"),
    Column("value", "value"),
    Column("psnr", "PSNR", ".2f"),
    Column("problem", "cannot be"),
)
"""Columns of a table of trials."""


def tune(
    model: Model,
    task: str,
    cases: Sequence[Case],
    *,
    base: str = "sound",
    steps: int = 25,
    seed: int = 0,
    search: Mapping[str, Sequence[Any]] = SEARCH,
    rounds: int = ROUNDS,
    progress: Callable[[int, int, str], None] | None = None,
) -> Tuned:
    """Search the settings that restore a few cases best.

    Args:
        model: a generative model.
        task: the degradation of the cases.
        cases: images of that task.
        base: a preset to begin from.
        steps: calls of the network per image.
        seed: of the restorations.
        search: choices by setting, as `SEARCH`.
        rounds: passes through all settings.
        progress: called as (done, total, note) after each trial.

    Raises:
        ValueError: an unknown setting, or no cases.
    """
    if not cases:
        raise ValueError("tuning needs at least one pair of images")
    for key in search:
        if key not in SEARCH:
            raise ValueError(f"unknown setting {key!r} to search; known are {', '.join(SEARCH)}")
    base = str(chosen_preset(base, model.info.presets, task))
    measured = _Measured(model, base, task, cases, steps, seed)
    best: dict[str, Any] = {}
    before = top = measured(best)
    trials: list[Trial] = []
    plan = [(setting, value) for _ in range(rounds) for setting, choices in search.items() for value in choices]
    for done, (setting, value) in enumerate(plan, start=2):
        changes, score = {**best, setting: value}, -1.0
        try:
            score = measured(changes)
            trials.append(Trial(setting, _shown(value), score))
        except ValueError as error:
            trials.append(Trial(setting, _shown(value), None, " ".join(str(error).split())))
        if score > top:
            top, best = score, changes
        if progress is not None:
            progress(done, 1 + len(plan), f"{task} {setting} {_shown(value)} {top:.2f} dB")
    return Tuned(task, base, _nested(best), top, before, trials)


class _Measured:
    """The mean PSNR in dB of changes to a preset, each measured once."""

    def __init__(self, model: Model, base: str, task: str, cases: Sequence[Case], steps: int, seed: int) -> None:
        self.model, self.base, self.task, self.steps, self.seed = model, base, task, steps, seed
        self.pairs = [tuple(image[None] for image in case.load()) for case in cases]
        self.told = [case.conditions() for case in cases]
        self.known: dict[str, float] = {}

    def __call__(self, changes: Mapping[str, Any]) -> float:
        key = json.dumps(changes, sort_keys=True)
        if key not in self.known:
            restore = Restorer.from_preset(self.model, self.base, self.task, **_nested(changes))
            scores = [
                psnr(restore(degraded, steps=self.steps, seed=self.seed, **told), clean).item()
                for (clean, degraded), told in zip(self.pairs, self.told, strict=True)
            ]
            self.known[key] = statistics.fmean(scores)
        return self.known[key]


def write_presets(path: Path, tuned: Sequence[Tuned]) -> Path:
    """Write or extend a file that `rebridge.irbridge.preset` takes by its path.

    Args:
        path: of the file; tasks that it has already stay.
        tuned: results, written as complete settings per task.

    Raises:
        ValueError: the file is there and is no file of presets.
    """
    tasks = read_presets(path) if path.exists() else {}
    for result in tuned:
        tasks[result.task] = preset(result.base, result.task, **result.settings)
    text = json.dumps({"format": PRESET_FORMAT, "tasks": tasks}, indent=2) + "\n"
    write_atomic(path, text.encode(), overwrite=True)
    return path


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Write changes as `rebridge.irbridge.preset` takes them: lam belongs to the bridge."""
    settings = {key: value for key, value in changes.items() if key != "lam"}
    return settings | ({"bridge": {"lam": changes["lam"]}} if "lam" in changes else {})


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
