"""Commands about models: train, evaluate, compare, tune, models, info."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rebridge.cli.console import note, out, print_json, progress, say, show_table
from rebridge.cli.options import MODEL, OUTPUT, PATH, TASK, TEXT, Json, command, numbers, option, repeated
from rebridge.commands.options import CompareOptions, EvaluateOptions, InfoOptions, TrainOptions, TuneOptions


@command(TrainOptions)
def train(options: TrainOptions, as_json: Json = False) -> None:
    """Train a model: `rebridge train config.yaml data.clean=photos`.

    Exit code 1 when it was stopped before its end.
    """
    from rebridge.commands.train import train

    result = train(options)
    if result.speaks and as_json:
        model = None if result.model is None else str(result.model)
        print_json({"iterations": result.iterations, "model": model, "psnr": result.psnr})
    elif result.speaks and result.model is not None:
        rows = [{"validation": name, "PSNR": f"{value:.2f}"} for name, value in result.psnr.items()]
        if rows:
            show_table(rows)
        say(f"trained for {result.iterations} iterations; the model is in {result.model}")
    if result.model is None:
        raise typer.Exit(1)


@command(EvaluateOptions, tasks=repeated("A degradation, or clean for none at all, by default the model's", *TASK))
def evaluate(
    options: EvaluateOptions,
    per_image: Annotated[bool, typer.Option("--per-image", help="One row per image instead of per task.")] = False,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """Measure a model: `rebridge evaluate --clean photos --task rain --task blur`.

    PSNR and SSIM of 8-bit images, whole, in RGB; means per task, s/image is a median. Equal images count 100 dB.
    """
    if as_json and as_csv:
        raise ValueError("give only one of --json and --csv")
    from rebridge.commands.evaluate import evaluate
    from rebridge.evaluation.evaluate import IMAGE_COLUMNS, TASK_COLUMNS
    from rebridge.evaluation.tables import record, table, to_csv

    with progress("evaluating") as bar:
        result = evaluate(options, bar)
    note(result.note)
    found = result.evaluation
    rows: list[Any] = found.scores if per_image else found.summaries
    columns = IMAGE_COLUMNS if per_image else TASK_COLUMNS
    if as_json:
        about = {key: getattr(result, key) for key in ("model", "sampler", "steps", "seed", "channel")}
        tasks = [record(row, TASK_COLUMNS) for row in found.summaries]
        print_json({**about, "tasks": tasks, "images": [record(row, IMAGE_COLUMNS) for row in found.scores]})
    elif as_csv:
        print(to_csv(rows, columns), end="")
    else:
        out().print(table(rows, columns))


@command(
    CompareOptions,
    output=option(PATH, "Folder for compare.csv and compare.png.", *OUTPUT),
    prior=option(str, "With --operator: the generative model.", "--prior", "-p"),
    steps=option(TEXT, "Numbers of steps, as 1,2,5,10; by default these, with irbridge 25.", read=numbers("--steps")),
)
def compare(options: CompareOptions, as_json: Json = False) -> None:
    """Compare samplers, bridges, models and zero-shot solvers.

    Samplers: `rebridge compare --clean photos --task rain`, or `rebridge compare --analytic --bridge goub`. Solvers:
    `rebridge compare --clean photos --operator sr4 --operator noise@25 --solver all --model rdbm-tiny`. A generative model
    inside a bridge with the same model alone, from pure noise (ddim) and from the degraded image under noise (sdedit):
    `rebridge compare --method irbridge --clean photos --task rain`.

    Quality is PSNR in dB for models, and with --analytic the distance to the exact posterior (0 is perfect).
    """
    from rebridge.commands.compare import compare
    from rebridge.evaluation.tables import record, table

    with progress("comparing") as bar:
        result = compare(options, bar)
    for sentence in result.notes:
        note(sentence)
    if result.files:
        say(f"wrote {' and '.join(map(str, result.files))}")
    if as_json:
        print_json([record(row, result.columns) for row in result.rows])
    else:
        out().print(table(result.rows, result.columns, result.title))


@command(
    TuneOptions,
    output=option(Path, "File for the settings, .json; tasks it has already stay.", *OUTPUT),
    model=option(str, "The generative model: name, folder or Hugging Face id.", *MODEL),
    limit=option(int, "Images per task; the paper took four."),
    steps=option(int, "Calls of the network per image."),
)
def tune(options: TuneOptions, as_json: Json = False) -> None:
    """Pick settings of a generative model on a few pairs.

    `rebridge tune --clean photos --task rain -o rain.json`. They are used by
    `rebridge restore --method irbridge --preset rain.json --task rain`.
    """
    from rebridge.commands.tune import tune
    from rebridge.evaluation.tables import table
    from rebridge.evaluation.tuning import TRIAL_COLUMNS

    with progress("tuning") as bar:
        result = tune(options, bar)
    note(result.note)
    if as_json:
        keys = ("task", "psnr", "before", "settings")
        print_json([{key: getattr(row, key) for key in keys} for row in result.tasks])
        return
    for row in result.tasks:
        title = f"{row.task}: {row.before:.2f} dB with {result.base}, {row.psnr:.2f} dB tuned"
        out().print(table(row.trials, TRIAL_COLUMNS, title))
    say(f"wrote {result.output}; use it as --preset {result.output}")


@command()
def list_models(as_json: Json = False) -> None:
    """List the models that come with rebridge."""
    from rebridge.commands.models import list_models

    rows = [vars(model) for model in list_models()]
    if as_json:
        print_json(rows)
    elif not rows:
        say("no model is packaged with this installation; train one with `rebridge train CONFIG.yaml`")
    else:
        shown = {"name": "model", "tasks": "removes", "megabytes": "MB"}
        rows = [row | {"megabytes": f"{row['megabytes']:.1f}", "tasks": ", ".join(row["tasks"])} for row in rows]
        show_table([{shown.get(key, key): value for key, value in row.items()} for row in rows])


@command(InfoOptions, model=Annotated[str, typer.Argument(metavar="NAME", help="Name, folder or id of a model.")])
def info(options: InfoOptions, as_json: Json = False) -> None:
    """Tell what a model is: its bridge, network, cost and training."""
    from rebridge.commands.models import info

    found = info(options)
    config = found.config
    if as_json:
        about = {"name": found.name, "folder": found.folder, "parameters": found.parameters}
        print_json({**about, "flops_256x256": found.flops, **config})
        return
    rows = {"model": found.name, "folder": found.folder, "removes": ", ".join(found.model.tasks) or "not stated"}
    rows |= {part: _described(config[part]) for part in ("bridge", "network", "sampler") if part in config}
    if "predictor" in config:
        rows["starts from"] = _described(config["predictor"]["network"])
    rows |= {key: str(config[key]) for key in ("prediction",) if key in config}
    rows["parameters"] = f"{found.parameters:,}"
    if found.flops is not None and found.macs is not None:
        rows["one call, 256x256"] = f"{found.flops / 1e9:.2f} GFLOP ({found.macs / 1e9:.2f} GMAC)"
    rows |= {f"training: {key}": str(value) for key, value in config.get("training", {}).items()}
    show_table([{"": key, " ": value} for key, value in rows.items()])


def _described(part: dict[str, Any]) -> str:
    params = ", ".join(f"{key}={value}" for key, value in part.items() if key != "name")
    return f"{part['name']} ({params})" if params else str(part["name"])
