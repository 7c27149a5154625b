"""Commands about models: train, evaluate, models, info."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rebridge.cli.console import one_of, out, print_json, progress, say
from rebridge.cli.files import Device, Dtype, Json, SamplerName, Seed, Steps, Tile, check_options
from rebridge.cli.priors import (
    DEFAULT_MODELS,
    AnyModel,
    BridgeName,
    ControlNet,
    Detail,
    Method,
    Preset,
    PriorOptions,
    ScheduleName,
    open_restorer,
)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="What to train, and on what.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change: optimisation.lr=1e-3.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest checkpoint.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model: `rebridge train config.yaml data.clean=photos`. Exit code 1 when it was stopped before its end."""
    if not config.is_file():
        raise ValueError(f"{config}: no such file")
    from rebridge import training

    result = training.train_file(config, overrides or [], resume)
    # Under torchrun every process comes here, and one voice is enough.
    if os.environ.get("RANK", "0") == "0":
        if as_json:
            print_json(
                {
                    "iterations": result.iterations,
                    "model": None if result.model is None else str(result.model),
                    "psnr": result.psnr,
                }
            )
        elif result.model is not None:
            from rebridge.evaluation.tables import Column, table

            rows = [{"name": name, "psnr": value} for name, value in result.psnr.items()]
            if rows:
                out().print(table(rows, [Column("name", "validation"), Column("psnr", "PSNR", ".2f")]))
            say(f"trained for {result.iterations} iterations; the model is in {result.model}")
    if result.model is None:
        raise typer.Exit(1)


def evaluate(
    model: AnyModel = None,
    method: Method = "bridge",
    preset: Preset = None,
    bridge: BridgeName = None,
    schedule: ScheduleName = None,
    controlnet: ControlNet = None,
    detail: Detail = 0.0,
    prior_option: PriorOptions = None,
    clean: Annotated[Path | None, typer.Option(help="Folder of clean images, degraded by --task.")] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", "-t", help="A degradation, or clean for none at all; repeat it. By default the model's."
        ),
    ] = None,
    pairs: Annotated[Path | None, typer.Option(help="Folder with clean/ and degraded/, or such.")] = None,
    layout: Annotated[
        str | None, typer.Option(help="Of --pairs: a standard data set, such as rain100h or gopro.")
    ] = None,
    steps: Steps = None,
    seed: Seed = 0,
    limit: Annotated[int | None, typer.Option(help="Only so many images per task.")] = None,
    sampler: SamplerName = None,
    tile: Tile = None,
    samples: Annotated[int, typer.Option(help="Restorations with different noise to average.")] = 1,
    channel: Annotated[Literal["rgb", "y"], typer.Option(help="What to compare: colours, or luma only.")] = "rgb",
    device: Device = None,
    dtype: Dtype = None,
    per_image: Annotated[bool, typer.Option("--per-image", help="One row per image instead of per task.")] = False,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """Measure a model: `rebridge evaluate --clean photos --task rain --task blur`.

    PSNR and SSIM of 8-bit images, whole, in RGB; means per task, s/image is a median. Equal images count 100 dB.
    """
    one_of([("--json", as_json), ("--csv", as_csv)])
    one_of([("--clean", clean is not None), ("--pairs", pairs is not None)])
    if pairs is not None and task:
        raise ValueError("--task degrades the images of --clean; --pairs are degraded already")
    if clean is None and pairs is None:
        raise ValueError("give --clean DIR to degrade clean images, or --pairs DIR for real pairs")
    if layout is not None and pairs is None:
        raise ValueError("--layout says how --pairs lie on disk, and is of no use without")
    from rebridge import evaluation
    from rebridge.evaluation import tables

    model = model or DEFAULT_MODELS[method]
    restorer = open_restorer(
        method,
        model,
        device,
        dtype,
        preset=preset,
        bridge=bridge,
        schedule=schedule,
        controlnet=controlnet,
        detail=detail,
        prior_options=prior_option,
    )
    options: dict[str, Any] = {"steps": steps, "seed": seed, "tile": tile, "samples": samples, "sampler": sampler}
    chosen_steps = check_options(restorer, **options)
    if pairs is not None:
        cases = evaluation.paired_cases(pairs, layout, limit=limit)
    else:
        assert clean is not None
        tasks = task or (restorer.model.tasks if restorer.model else [])
        cases = evaluation.synthetic_cases(clean, tasks, seed, limit)
    result = evaluation.Evaluation()
    with progress("evaluating") as bar:
        for name in dict.fromkeys(case.task for case in cases):
            result.scores.extend(
                evaluation.evaluate(
                    restorer.for_task(name),
                    [case for case in cases if case.task == name],
                    channel=channel,
                    progress=lambda done, total, score: bar(
                        done, total, f"{score.task} {score.name} {score.psnr:.2f} dB"
                    ),
                    **options,
                ).scores
            )
    rows: list[Any] = result.scores if per_image else result.summaries
    columns = tables.SCORES if per_image else tables.SUMMARY
    if as_json:
        print_json(
            {
                "model": model,
                "sampler": sampler or restorer.sampler_config["name"],
                "steps": chosen_steps,
                "seed": seed,
                "channel": channel,
                "tasks": [tables.record(row, tables.SUMMARY) for row in result.summaries],
                "images": [tables.record(row, tables.SCORES) for row in result.scores],
            }
        )
    elif as_csv:
        print(tables.to_csv(rows, columns), end="")
    else:
        out().print(tables.table(rows, columns))


def list_models(as_json: Json = False) -> None:
    """List the models that come with rebridge."""
    from rebridge import hub
    from rebridge.evaluation.tables import Column, table
    from rebridge.models.config import WEIGHTS_FILE

    rows = []
    for name in hub.packaged():
        folder = hub.find_model(name)
        config = hub.read_config(folder)
        rows.append(
            {
                "name": name,
                "tasks": config["tasks"],
                "bridge": config["bridge"]["name"],
                "network": config["network"]["name"],
                "steps": config["sampler"].get("steps"),
                "megabytes": (folder / WEIGHTS_FILE).stat().st_size / 1e6,
            }
        )
    if as_json:
        print_json(rows)
    elif not rows:
        say("no model is packaged with this installation; train one with `rebridge train CONFIG.yaml`")
    else:
        columns = [
            Column("name", "model"),
            Column("tasks", "removes"),
            Column("bridge", "bridge"),
            Column("network", "network"),
            Column("steps", "steps", "d"),
            Column("megabytes", "MB", ".1f"),
        ]
        out().print(table(rows, columns))


def info(
    model: Annotated[str, typer.Argument(metavar="NAME", help="Name, folder or Hugging Face id of a model.")],
    as_json: Json = False,
) -> None:
    """Tell what a model is: its bridge, network, cost and training."""
    from rebridge import hub, networks
    from rebridge.evaluation.tables import Column, table

    loaded = hub.load_model(model)
    cost = networks.cost(loaded.network)
    if as_json:
        figures = {"parameters": loaded.parameters, "flops_256x256": cost.flops}
        print_json({"name": loaded.name, "folder": str(hub.find_model(model)), **figures, **loaded.config})
        return
    rows = [("model", loaded.name), ("folder", str(hub.find_model(model)))]
    rows += [("removes", ", ".join(loaded.tasks) or "not stated")]
    rows += [(part, _described(loaded.config[part])) for part in ("bridge", "network", "sampler")]
    if "predictor" in loaded.config:
        rows += [("starts from", _described(loaded.config["predictor"]["network"]))]
    rows += [
        ("prediction", loaded.config["prediction"]),
        ("parameters", f"{loaded.parameters:,}"),
        ("one call, 256x256", f"{cost.flops / 1e9:.2f} GFLOP ({cost.macs / 1e9:.2f} GMAC)"),
    ]
    rows += [(f"training: {key}", str(value)) for key, value in loaded.config.get("training", {}).items()]
    columns = [Column("what", ""), Column("value", "")]
    out().print(table([dict(zip(("what", "value"), row, strict=True)) for row in rows], columns))


def _described(part: dict[str, Any]) -> str:
    params = ", ".join(f"{key}={value}" for key, value in part.items() if key != "name")
    return f"{part['name']} ({params})" if params else str(part["name"])
