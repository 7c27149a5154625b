"""Command `compare`: bridges, samplers, models and solvers in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rebridge import inverse
from rebridge.catalogue import Spec
from rebridge.commands.conditions import drawn_conditions, own_conditions
from rebridge.commands.evaluate import readable, told_cases
from rebridge.commands.files import settle
from rebridge.commands.opening import open_prior, open_restorer
from rebridge.commands.options import DEFAULT_MODELS, CompareOptions, ModelOptions, PriorOptions
from rebridge.commands.progress import Reporter, cancellable
from rebridge.data import ImageFolder
from rebridge.evaluation import Case, synthetic_cases
from rebridge.evaluation.baselines import BASELINES
from rebridge.evaluation.compare import SAMPLER_COLUMNS, SeedScore, compare_analytic, compare_models, summarise
from rebridge.evaluation.plots import check_plotting, plot_comparison
from rebridge.evaluation.solvers import SOLVER_COLUMNS, centre_square, compare_solvers
from rebridge.evaluation.tables import Column, to_csv
from rebridge.images import write_atomic
from rebridge.inverse import Method, OperatorSpec
from rebridge.restoration import Restorer

_BRIDGES = ("goub", "brownian", "ddbm-vp")
_SAMPLERS = {
    "bridge": ("dbim", "dbim:order=2", "dbim:eta=1", "ode:method=heun"),
    "irbridge": ("irbridge", "ddim", "sdedit"),
}
_STEPS = {"bridge": (1, 2, 5, 10), "irbridge": (25,)}


@dataclass(frozen=True)
class Comparison:
    """A table: rows with attributes, and the columns that show them.

    Attributes:
        rows: `rebridge.evaluation.compare.SamplerScores`, or for solvers `rebridge.evaluation.solvers.SolverResult`.
        columns: keys, headings and formats of the rows' attributes.
        title: of the table, or None.
        files: that were written.
        notes: sentences that the user should know.
    """

    rows: Sequence[Any]
    columns: Sequence[Column]
    title: str | None = None
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare(options: CompareOptions, progress: Reporter | None = None) -> Comparison:
    """Compare models, exact denoisers or zero-shot solvers, one thing at a time.

    Args:
        options: of this command; they say which of the three forms it takes.
        progress: called after each run; raise from it to cancel.

    Raises:
        ValueError: options of different forms, parts that do not fit, or no images.
    """
    check_comparison(options)
    if options.output is not None:
        if not options.operators:
            check_plotting()
        names = ["compare.csv"] if options.operators else ["compare.csv", "compare.png"]
        settle([options.output / name for name in names], options.overwrite)
    with cancellable(progress) as report:
        if options.operators:
            return _solvers(options, report)
        specs = [Spec.parse(text) for text in options.samplers or _SAMPLERS[options.method]]
        notes: list[str] = []
        if options.analytic:
            processes = [Spec.parse(text) for text in options.bridges or _BRIDGES]
            steps = options.steps or _STEPS["bridge"]
            scores = compare_analytic(processes, specs, steps, options.seeds, options.draws, progress=report)
        else:
            scores = _models(options, specs, report, notes)
    if not scores:
        raise ValueError("none of these samplers can walk any of these bridges; `rebridge samplers` lists what can")
    rows = summarise(scores)
    files: list[Path] = []
    if options.output is not None:
        files = _written(rows, SAMPLER_COLUMNS, options.output)
        label = "distance to the exact posterior" if options.analytic else "PSNR (dB)"
        files.append(plot_comparison(rows, options.output / "compare.png", label, logarithmic=options.analytic))
    return Comparison(rows, SAMPLER_COLUMNS, None, files, notes)


def check_comparison(options: CompareOptions) -> None:
    """Raise ValueError for options that belong to different forms of the comparison."""
    defaults = CompareOptions()
    if options.conditions and (options.operators or options.analytic):
        raise ValueError("--condition goes with models that restore: --clean DIR and --task T")
    if options.operators:
        if options.clean is None or options.tasks or options.analytic or options.bridges or options.samplers:
            raise ValueError("--operator goes with --clean DIR, --solver and --model, and not with --task or --sampler")
        others = (options.method, tuple(options.presets), tuple(options.seeds), options.draws)
        if others != (defaults.method, defaults.presets, defaults.seeds, defaults.draws):
            raise ValueError("--method, --preset, --seeds and --samples do not go with --operator")
        if options.steps is not None and len(options.steps) > 1:
            text = ",".join(str(count) for count in options.steps)
            raise ValueError(f"with --operator all solvers take one number of --steps, got {text}")
        if options.limit is not None and options.limit < 1:
            raise ValueError(f"limit must be at least 1, got {options.limit}")
        return
    if options.solvers or options.crop:
        raise ValueError("--solver and --crop go with --operator")
    if options.analytic and options.models:
        raise ValueError("give only one of --analytic and --model")
    if options.analytic and (options.clean is not None or options.tasks):
        raise ValueError("--analytic has no images: leave out --clean and --task")
    if not options.analytic and (options.clean is None or not options.tasks):
        raise ValueError("give --clean DIR and --task T to compare models, or --analytic")
    if options.bridges and not options.analytic:
        raise ValueError("--bridge goes with --analytic; a model has its own bridge")
    if options.presets and options.method != "irbridge":
        raise ValueError("--preset goes with --method irbridge")


def _models(options: CompareOptions, specs: list[Spec], report: Reporter, notes: list[str]) -> list[SeedScore]:
    """Scores of every model and, for generative ones, every preset."""
    steps = options.steps or _STEPS[options.method]
    names = options.models or [DEFAULT_MODELS[options.method]]
    if options.method == "irbridge":
        cases = readable(_cases(options), lambda case: case.load(), notes)
        return _presets(options, names, specs, steps, cases, report, notes)
    restorers = {name: _restorer(options, name, None, notes) for name in names}
    models = [restorer.model for restorer in restorers.values()]
    own = own_conditions(models, options.conditions)
    drawn = [name for model in models for name in drawn_conditions(model, options.conditions, options.tasks)]
    shared = readable(_cases(options, drawn), lambda case: case.load(), notes)
    told = {
        name: told_cases(shared, model, given, drawn) for name, model, given in zip(restorers, models, own, strict=True)
    }
    return compare_models(restorers, specs, steps, options.seeds, told, progress=report)


def _cases(options: CompareOptions, drawn: Sequence[str] = ()) -> list[Case]:
    assert options.clean is not None
    return synthetic_cases(options.clean, options.tasks, 0, options.limit, told=tuple(dict.fromkeys(drawn)))


def _presets(
    options: CompareOptions,
    names: Sequence[str],
    specs: list[Spec],
    steps: Sequence[int],
    cases: list[Case],
    report: Reporter,
    notes: list[str],
) -> list[SeedScore]:
    """Scores with every preset; samplers that do not depend on the preset run with the first one only."""
    presets: Sequence[str | None] = options.presets or [None]
    scores: list[SeedScore] = []
    for name in names:
        for number, preset in enumerate(presets):
            chosen = [spec for spec in specs if number == 0 or spec.name == "irbridge"]
            label = name if len(presets) == 1 else f"{name} {preset}"
            restorer = _restorer(options, name, preset, notes)
            told = told_cases(cases, restorer.model, own_conditions([restorer.model], options.conditions)[0])
            scores += compare_models({label: restorer}, chosen, steps, options.seeds, told, progress=report)
    return scores


def _restorer(options: CompareOptions, name: str, preset: str | None, notes: list[str]) -> Restorer:
    opened = open_restorer(ModelOptions(method=options.method, model=name, preset=preset, device=options.device))
    if opened.note is not None and opened.note not in notes:
        notes.append(opened.note)
    return opened.restorer


def _solvers(options: CompareOptions, report: Reporter) -> Comparison:
    """Restore measurements by zero-shot solvers, IRBridge with the same prior, trained bridges, and without a model."""
    assert options.clean is not None
    specs = [OperatorSpec.parse(text) for text in options.operators]
    asked = options.solvers or ["all"]
    names = [name for text in asked for name in (inverse.names() if text == "all" else [text])]
    methods = {name: _method(name, options.steps) for name in names if name not in ("irbridge", "baselines")}
    simple = BASELINES if "baselines" in names else {}
    prior = open_prior(options.prior, PriorOptions(device=options.device))
    restorers = {name: _restorer(options, name, None, []) for name in options.models}
    if "irbridge" in names:
        restorers = {"irbridge": Restorer.from_preset(prior), **restorers}
    folder = ImageFolder(options.clean)
    count = len(folder) if options.limit is None else min(options.limit, len(folder))
    notes: list[str] = []
    images = [folder[index] for index in readable(range(count), folder.__getitem__, notes)]
    if options.crop is not None:
        images = [centre_square(image, options.crop) for image in images]
    rows = compare_solvers(images, specs, methods, prior, restorers, progress=report, baselines=simple)
    files = [] if options.output is None else _written(rows, SOLVER_COLUMNS, options.output)
    return Comparison(rows, SOLVER_COLUMNS, f"{len(images)} images", files, notes)


def _method(text: str, steps: Sequence[int] | None) -> Method | None:
    if text == "default":
        return None
    spec = Spec.parse(text)
    params = {"steps": steps[0]} if steps else {}
    return inverse.create(spec.name, **{**params, **spec.params})


def _written(rows: Sequence[Any], columns: Sequence[Column], folder: Path) -> list[Path]:
    path = folder / "compare.csv"
    write_atomic(path, to_csv(rows, columns).encode(), overwrite=True)
    return [path]
