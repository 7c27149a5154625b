"""The command `tune`: which settings of a generative prior restore a task best."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rebridge.cli.console import one_of, out, print_json, progress, say
from rebridge.cli.files import Device, Dtype, Json, Seed
from rebridge.cli.priors import DEFAULT_MODELS, ControlNet, PriorOptions, open_restorer


def tune(
    output: Annotated[
        Path, typer.Option("--out", "--output", "-o", help="File for the settings, .json; tasks it has already stay.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="The prior: name, folder or Hugging Face id.")
    ] = DEFAULT_MODELS["irbridge"],
    clean: Annotated[Path | None, typer.Option(help="Folder of clean images, degraded by --task.")] = None,
    task: Annotated[list[str] | None, typer.Option("--task", "-t", help="A degradation; repeat it.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Folder with clean/ and degraded/, or such.")] = None,
    layout: Annotated[str | None, typer.Option(help="Of --pairs: a standard data set, such as rain100h.")] = None,
    limit: Annotated[int, typer.Option(help="Images per task; the paper took four.")] = 4,
    base: Annotated[str, typer.Option(help="Preset to begin from: paper, sound or a file.")] = "sound",
    steps: Annotated[int, typer.Option(help="Calls of the network per image.")] = 25,
    search: Annotated[
        list[str] | None,
        typer.Option("--search", help="What to search, as schedule or lam=0.004,0.008; repeat it. By default all."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="How often to go through all settings.")] = 2,
    controlnet: ControlNet = None,
    prior_option: PriorOptions = None,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Pick settings on a few pairs: `rebridge tune --clean photos --task rain -o rain.json`, to be used as
    `rebridge restore --method irbridge --preset rain.json --task rain`.
    """
    one_of([("--clean", clean is not None), ("--pairs", pairs is not None)])
    if (clean is None and pairs is None) or (clean is not None and not task):
        raise ValueError("give --clean DIR and --task T, or --pairs DIR")
    if output.suffix != ".json":
        raise ValueError(f"the settings go into a file that ends in .json, got {output}")
    if rounds < 1 or steps < 2:
        raise ValueError(f"rounds must be at least 1 and steps at least 2, got {rounds} and {steps}")
    from rebridge import evaluation
    from rebridge.evaluation import tables, tuning
    from rebridge.irbridge import IRBridgeRestorer

    chosen = dict(_parsed(text) for text in search) if search else tuning.SEARCH
    opened = open_restorer("irbridge", model, device, dtype, controlnet=controlnet, prior_options=prior_option)
    assert isinstance(opened, IRBridgeRestorer)
    if pairs is not None:
        cases = evaluation.paired_cases(pairs, layout, task=task[0] if task else "pairs", limit=limit)
    else:
        assert clean is not None
        cases = evaluation.synthetic_cases(clean, task or [], seed, limit)
    results = []
    with progress("tuning") as bar:
        for name in dict.fromkeys(case.task for case in cases):
            group = [case for case in cases if case.task == name]
            options: dict[str, Any] = {"base": base, "steps": steps, "seed": seed, "search": chosen, "rounds": rounds}
            results.append(tuning.tune(opened.prior, name, group, **options, progress=bar))
            tuning.write_presets(output, results[-1:])
    if as_json:
        print_json([{"task": r.task, "psnr": r.psnr, "before": r.before, "settings": r.settings} for r in results])
        return
    for result in results:
        title = f"{result.task}: {result.before:.2f} dB with {base}, {result.psnr:.2f} dB tuned"
        out().print(tables.table(result.trials, tuning.TRIALS, title))
    say(f"wrote {output}; use it as --preset {output}")


def _parsed(text: str) -> tuple[str, tuple[Any, ...]]:
    """What to search: a setting with all its choices, or with those given."""
    from rebridge.evaluation.compare import value_of
    from rebridge.evaluation.tuning import SEARCH

    key, equals, values = text.partition("=")
    if key not in SEARCH:
        raise ValueError(f"--search takes {', '.join(SEARCH)}, got {text!r}")
    return key, tuple(value_of(part) for part in values.split(",")) if equals else SEARCH[key]
