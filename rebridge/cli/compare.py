"""The command `compare`: bridges, samplers and steps side by side."""

from pathlib import Path
from typing import Annotated

import typer

from rebridge.cli.console import one_of, out, print_json, progress, say
from rebridge.cli.files import DEFAULT_MODEL, Device, Json

DEFAULT_SAMPLERS = ("dbim", "dbim:order=2", "dbim:eta=1", "ode:method=heun")


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
    steps: Annotated[str, typer.Option(help="Numbers of steps, separated by commas.")] = "1,2,5,10",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2",
    limit: Annotated[int | None, typer.Option(help="Only so many images per task.")] = None,
    samples: Annotated[int, typer.Option(help="With --analytic: samples per run.")] = 4000,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for compare.csv and compare.png.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Compare samplers: `rebridge compare --clean photos --task rain`, `rebridge compare --analytic --bridge goub`.

    Quality is PSNR in dB for models, and with --analytic the distance to the exact posterior (0 is perfect).
    """
    one_of([("--analytic", analytic), ("--model", bool(model))])
    if analytic and (clean is not None or task):
        raise ValueError("--analytic has no images: leave out --clean and --task")
    if not analytic and (clean is None or not task):
        raise ValueError("give --clean DIR and --task T to compare models, or --analytic")
    if bridge and not analytic:
        raise ValueError("--bridge goes with --analytic; a model has its own bridge")
    from rebridge import evaluation
    from rebridge.evaluation import compare as comparing
    from rebridge.evaluation import tables
    from rebridge.inference import Restorer

    walks = [comparing.Spec.parse(text) for text in sampler or DEFAULT_SAMPLERS]
    counts, numbers = _numbers(steps, "--steps"), _numbers(seeds, "--seeds", smallest=0)
    with progress("comparing") as bar:
        if analytic:
            processes = [comparing.Spec.parse(text) for text in bridge or ("goub", "brownian", "ddbm-vp")]
            runs = comparing.compare_analytic(processes, walks, counts, numbers, samples, progress=bar)
        else:
            assert clean is not None
            assert task is not None
            cases = evaluation.synthetic_cases(clean, task, 0, limit)
            restorers = {name: Restorer.from_pretrained(name, device) for name in model or [DEFAULT_MODEL]}
            runs = comparing.compare_models(restorers, walks, counts, numbers, cases, progress=bar)
    if not runs:
        raise ValueError("none of these samplers can walk any of these bridges; `rebridge samplers` lists what can")
    rows = comparing.summarise(runs)
    if output is not None:
        from rebridge.evaluation.plots import plot_comparison
        from rebridge.files import write_atomic

        output.mkdir(parents=True, exist_ok=True)
        write_atomic(output / "compare.csv", tables.to_csv(rows, comparing.SUMMARY).encode(), overwrite=True)
        label = "distance to the exact posterior" if analytic else "PSNR (dB)"
        plot_comparison(rows, output / "compare.png", label, logarithmic=analytic)
        say(f"wrote {output / 'compare.csv'} and {output / 'compare.png'}")
    if as_json:
        print_json([tables.record(row, comparing.SUMMARY) for row in rows])
    else:
        out().print(tables.table(rows, comparing.SUMMARY))


def _numbers(text: str, option: str, smallest: int = 1) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} takes whole numbers separated by commas, got {text!r}") from None
    if min(numbers) < smallest:
        raise ValueError(f"{option} must be at least {smallest}, got {min(numbers)}")
    return numbers
