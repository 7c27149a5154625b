"""Commands about models: train, evaluate, compare, tune, models, info, serve."""

from typing import Annotated, Any

import typer

from rebridge.cli.console import end_failed, note, out, print_json, progress, say, show_table
from rebridge.cli.options import Json, command
from rebridge.commands.options import (
    CompareOptions,
    ConvertOptions,
    DoctorOptions,
    EvaluateOptions,
    ExportOptions,
    InfoOptions,
    PushOptions,
    ServeOptions,
    TrainOptions,
    TuneOptions,
)


@command(TrainOptions)
def train(options: TrainOptions, as_json: Json = False) -> None:
    """Train a model: `rebridge train config.yaml data.clean=photos`.

    Exit code 1 when it was stopped before its end.
    """
    from rebridge.commands.train import train

    result = train(options)
    if result.speaks and as_json:
        print_json({"iterations": result.iterations, "model": result.model and str(result.model), "psnr": result.psnr})
    elif result.speaks and result.model is not None:
        rows = [{"validation": name, "PSNR": f"{value:.2f}"} for name, value in result.psnr.items()]
        if rows:
            show_table(rows)
        say(f"trained for {result.iterations} iterations; the model is in {result.model}")
    if result.model is None:
        raise typer.Exit(1)


@command(EvaluateOptions)
def evaluate(
    options: EvaluateOptions,
    per_image: Annotated[bool, typer.Option("--per-image", help="One row per image instead of per task.")] = False,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """Measure a model: `rebridge evaluate --clean photos --task rain --task blur`.

    Or results made elsewhere: `rebridge evaluate --results restored --truth clean --suffix _out`.

    PSNR and SSIM of 8-bit images, whole, in RGB; means per task, s/image is a median. Equal images count 100 dB. Clean is what is
    left of the clean images, restored as if they were not; worse the share that lost more than 0.1 dB.
    """
    if as_json and as_csv:
        raise ValueError("give only one of --json and --csv")
    from rebridge.commands.evaluate import evaluate
    from rebridge.evaluation.tables import table, to_csv

    with progress("evaluating") as bar:
        result = evaluate(options, bar)
    note(result.note)
    found = result.evaluation
    rows, columns = [row.row for row in (found.scores if per_image else found.summaries)], result.columns(per_image)
    if as_json:
        print_json(result.record)
    elif as_csv:
        print(to_csv(rows, columns), end="")
    else:
        shown = result.columns(per_image, shown=True)
        out().print(table(rows, [column for column in shown if options.baselines or column.key != "method"]))
    end_failed([vars(failure) for failure in found.failures], len(found.scores) + len(found.failures))


@command(CompareOptions)
def compare(options: CompareOptions, as_json: Json = False) -> None:
    """Compare samplers, bridges, models and zero-shot solvers.

    Samplers: `rebridge compare --clean photos --task rain`, or `rebridge compare --analytic --bridge goub`. Solvers:
    `rebridge compare --clean photos --operator sr4 --operator noise@25 --solver all --model rdbm-texture`. A generative model
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


@command(TuneOptions)
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
        print_json([{key: getattr(row, key) for key in ("task", "psnr", "before", "settings")} for row in result.tasks])
        return
    for row in result.tasks:
        title = f"{row.task}: {row.before:.2f} dB with {result.base}, {row.psnr:.2f} dB tuned"
        out().print(table(row.trials, TRIAL_COLUMNS, title))
    say(f"wrote {result.output}; use it as --preset {result.output}")


@command()
def list_models(
    published: Annotated[
        bool, typer.Option("--published", help="The authors' checkpoints that `rebridge convert` reads.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models that come with rebridge, or the published ones."""
    from rebridge.commands.models import list_models, list_published

    if as_json:
        print_json([vars(found) | {"command": found.command} for found in list_published()] if published
                   else [vars(model) for model in list_models()])  # fmt: skip
    else:
        show_table([found.row for found in (list_published() if published else list_models())])


@command(ConvertOptions)
def convert(options: ConvertOptions, as_json: Json = False) -> None:
    """Make a model folder of a published checkpoint.

    `rebridge convert model-300.pt -o diffuir`, then `rebridge restore photo.png -o out.png --model diffuir`.
    """
    from rebridge.commands.convert import convert

    found = convert(options)
    if not as_json:
        show_table([{"": key, " ": value} for key, value in found.facts.items()])
        for sentence in found.notes:
            note(sentence)
    _tell(found, as_json)


@command(ExportOptions)
def export(options: ExportOptions, as_json: Json = False) -> None:
    """Export a model for other runtimes: `rebridge export rdbm-tiny -o exported`."""
    from rebridge.commands.export import export

    _tell(export(options), as_json)


@command(PushOptions)
def push(options: PushOptions, as_json: Json = False) -> None:
    """Upload a model with its card to the Hub: `rebridge push mymodel me/mymodel`."""
    from rebridge.commands.push import push

    _tell(push(options), as_json)


@command(InfoOptions)
def info(options: InfoOptions, as_json: Json = False) -> None:
    """Tell what a model is: its bridge, network, cost and training."""
    from rebridge.commands.models import info

    found = info(options)
    if as_json:
        print_json(found.record)
    else:
        show_table([{"": key, " ": value} for key, value in found.facts.items()])


def _tell(found: Any, as_json: bool) -> None:
    """Show what a command found, by its record or in sentences."""
    if as_json:
        print_json(found.record)
    for sentence in () if as_json else found.sentences:
        say(sentence)


@command(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Open a web page that restores pictures, with an API: `rebridge serve`.

    Other machines reach it with --host 0.0.0.0, and then visitors need the token that is printed.
    """
    from rebridge.app import serve

    serve(options, say)


@command(DoctorOptions)
def doctor(options: DoctorOptions, as_json: Json = False) -> None:
    """Say what is installed, what adds what is missing, and how fast it is."""
    from rebridge.commands.doctor import Diagnosis

    _tell(Diagnosis.of(options), as_json)
