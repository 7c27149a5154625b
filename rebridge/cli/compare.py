"""The command `compare`: bridges, samplers and steps side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rebridge.cli.console import Bar, one_of, out, print_json, progress, say
from rebridge.cli.files import DEFAULT_MODEL, Device, Json
from rebridge.cli.priors import DEFAULT_MODELS, Method, open_restorer

if TYPE_CHECKING:
    from rebridge.evaluation import Case
    from rebridge.evaluation.compare import Run, Spec

DEFAULT_SAMPLERS = ("dbim", "dbim:order=2", "dbim:eta=1", "ode:method=heun")
PRIOR_SAMPLERS = ("irbridge", "ddim", "sdedit")
SEEDS, SAMPLES = "0,1,2", 4000
DEFAULT_STEPS = {"bridge": "1,2,5,10", "irbridge": "25"}


def compare(
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="A model; repeat it.")] = None,
    clean: Annotated[Path | None, typer.Option(help="Folder of clean images, degraded by --task.")] = None,
    task: Annotated[list[str] | None, typer.Option("--task", "-t", help="A degradation; repeat it.")] = None,
    analytic: Annotated[
        bool, typer.Option("--analytic", help="No model: exact denoisers of a Gaussian problem.")
    ] = False,
    bridge: Annotated[
        list[str] | None,
        typer.Option("--bridge", help="With --analytic: a bridge, as goub or goub:lam=0.2; repeat it."),
    ] = None,
    sampler: Annotated[
        list[str] | None, typer.Option("--sampler", help="A sampler, as dbim or dbim:eta=1,order=1; repeat it.")
    ] = None,
    method: Method = "bridge",
    preset: Annotated[
        list[str] | None,
        typer.Option("--preset", help="With irbridge: paper, sound or tuned; repeat it. By default as in restore."),
    ] = None,
    operator: Annotated[
        list[str] | None,
        typer.Option("--operator", help="A known operator, as sr4 or noise@25 (see `rebridge solve`); repeat it."),
    ] = None,
    solver: Annotated[
        list[str] | None,
        typer.Option("--solver", help="With --operator: a zero-shot solver, irbridge, or all; repeat it."),
    ] = None,
    prior: Annotated[str, typer.Option("--prior", "-p", help="With --operator: the prior.")] = "pixel-prior-tiny",
    crop: Annotated[int | None, typer.Option(help="With --operator: only the middle square of so many pixels.")] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            help="Numbers of steps, separated by commas; by default 1,2,5,10, with --method irbridge 25, with --solver its own."
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = SEEDS,
    limit: Annotated[int | None, typer.Option(help="Only so many images per task.")] = None,
    samples: Annotated[int, typer.Option(help="With --analytic: samples per run.")] = SAMPLES,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for compare.csv and compare.png.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Compare samplers: `rebridge compare --clean photos --task rain`, `rebridge compare --analytic --bridge goub`; solvers:
    `rebridge compare --clean photos --operator sr4 --operator noise@25 --solver all --model rdbm-tiny`; and a prior inside a
    bridge with the same prior alone, from pure noise (ddim) and from the degraded image under noise (sdedit):
    `rebridge compare --method irbridge --clean photos --task rain`.

    Quality is PSNR in dB for models, and with --analytic the distance to the exact posterior (0 is perfect).
    """
    if operator:
        if clean is None or task or analytic or bridge or sampler:
            raise ValueError("--operator goes with --clean DIR, --solver and --model, and not with --task or --sampler")
        if method != "bridge" or preset or seeds != SEEDS or samples != SAMPLES:
            raise ValueError("--method, --preset, --seeds and --samples do not go with --operator")
        counts = None if steps is None else _numbers(steps, "--steps")
        if counts is not None and len(counts) > 1:
            raise ValueError(f"with --operator all solvers take one number of --steps, got {steps}")
        count = None if counts is None else counts[0]
        ways = solver or ["all"]
        compare_solvers(clean, operator, ways, count, prior, model or [], crop, limit, output, device, as_json)
        return
    if solver or crop:
        raise ValueError("--solver and --crop go with --operator")
    one_of([("--analytic", analytic), ("--model", bool(model))])
    if analytic and (clean is not None or task):
        raise ValueError("--analytic has no images: leave out --clean and --task")
    if not analytic and (clean is None or not task):
        raise ValueError("give --clean DIR and --task T to compare models, or --analytic")
    if bridge and not analytic:
        raise ValueError("--bridge goes with --analytic; a model has its own bridge")
    if preset and method != "irbridge":
        raise ValueError("--preset goes with --method irbridge")
    from rebridge import evaluation
    from rebridge.evaluation import compare as comparing
    from rebridge.evaluation import tables
    from rebridge.restoration import Restorer

    walks = [
        comparing.Spec.parse(text) for text in sampler or (PRIOR_SAMPLERS if method == "irbridge" else DEFAULT_SAMPLERS)
    ]
    counts, numbers = _numbers(steps or DEFAULT_STEPS[method], "--steps"), _numbers(seeds, "--seeds", smallest=0)
    with progress("comparing") as bar:
        if analytic:
            processes = [comparing.Spec.parse(text) for text in bridge or ("goub", "brownian", "ddbm-vp")]
            runs = comparing.compare_analytic(processes, walks, counts, numbers, samples, progress=bar)
        else:
            assert clean is not None
            assert task is not None
            cases = evaluation.synthetic_cases(clean, task, 0, limit)
            if method == "irbridge":
                runs = prior_runs(model or [], preset or [None], walks, counts, numbers, cases, device, bar)
            else:
                restorers = {name: Restorer.from_pretrained(name, device) for name in model or [DEFAULT_MODEL]}
                runs = comparing.compare_models(restorers, walks, counts, numbers, cases, progress=bar)
    if not runs:
        raise ValueError("none of these samplers can walk any of these bridges; `rebridge samplers` lists what can")
    rows = comparing.summarise(runs)
    if output is not None:
        from rebridge.evaluation.plots import plot_comparison
        from rebridge.images.atomic import write_atomic

        output.mkdir(parents=True, exist_ok=True)
        write_atomic(output / "compare.csv", tables.to_csv(rows, comparing.SUMMARY).encode(), overwrite=True)
        label = "distance to the exact posterior" if analytic else "PSNR (dB)"
        plot_comparison(rows, output / "compare.png", label, logarithmic=analytic)
        say(f"wrote {output / 'compare.csv'} and {output / 'compare.png'}")
    if as_json:
        print_json([tables.record(row, comparing.SUMMARY) for row in rows])
    else:
        out().print(tables.table(rows, comparing.SUMMARY))


def prior_runs(
    models: list[str],
    presets: Sequence[str | None],
    walks: "list[Spec]",
    counts: list[int],
    seeds: list[int],
    cases: "list[Case]",
    device: str | None,
    bar: Bar,
) -> "list[Run]":
    """Runs of priors with every preset; what does not depend on the preset, with the first one only."""
    from rebridge.evaluation.compare import compare_models

    runs: list[Run] = []
    for model in models or [DEFAULT_MODELS["irbridge"]]:
        for number, preset in enumerate(presets):
            chosen = [walk for walk in walks if number == 0 or walk.name == "irbridge"]
            restorer = open_restorer("irbridge", model, device, preset=preset)
            label = model if len(presets) == 1 else f"{model} {preset}"
            runs += compare_models({label: restorer}, chosen, counts, seeds, cases, progress=bar)
    return runs


def compare_solvers(
    clean: Path,
    tasks: list[str],
    solvers: list[str],
    steps: int | None,
    prior: str,
    models: list[str],
    crop: int | None,
    limit: int | None,
    output: Path | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Restore the same measurements by zero-shot solvers, by IRBridge with the same prior, and by trained bridges."""
    from rebridge import inverse
    from rebridge.data import ImageFolder
    from rebridge.evaluation import tables
    from rebridge.evaluation.compare import Spec
    from rebridge.images.atomic import write_atomic
    from rebridge.restoration import Restorer
    from rebridge.inverse import comparison
    from rebridge.restoration.solve import solver_of
    from rebridge.inverse.measurement import Task
    from rebridge.irbridge import IRBridgeRestorer, load_prior

    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    wanted = [Task.parse(text) for text in tasks]
    names = [name for text in solvers for name in (inverse.names() if text == "all" else [text])]
    specs = [Spec.parse(name) for name in names if name != "irbridge"]
    ways = {spec.text: solver_of(spec.name, None if "steps" in spec.params else steps, spec.params) for spec in specs}
    known = inverse.unconditional(load_prior(prior, device=device))
    restorers: dict[str, Restorer] = {name: Restorer.from_pretrained(name, device) for name in models}
    if "irbridge" in names:
        restorers = {"irbridge": IRBridgeRestorer.from_pretrained(prior, device), **restorers}
    folder = ImageFolder(clean)
    images = [folder[index] for index in range(len(folder) if limit is None else min(limit, len(folder)))]
    if crop is not None:
        images = [comparison.centre_crop(image, crop) for image in images]
    with progress("comparing") as bar:
        rows = comparison.compare_solvers(images, wanted, ways, known, restorers, progress=bar)
    if output is not None:
        text = tables.to_csv(rows, comparison.COLUMNS)
        write_atomic(output / "compare.csv", text.encode(), overwrite=True)
        say(f"wrote {output / 'compare.csv'}")
    if as_json:
        print_json([tables.record(row, comparison.COLUMNS) for row in rows])
    else:
        out().print(tables.table(rows, comparison.COLUMNS, f"{len(images)} images"))


def _numbers(text: str, option: str, smallest: int = 1) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} takes whole numbers separated by commas, got {text!r}") from None
    if min(numbers) < smallest:
        raise ValueError(f"{option} must be at least {smallest}, got {min(numbers)}")
    return numbers
