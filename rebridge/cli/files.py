"""Commands that read and write image files: restore, degrade."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rebridge.cli.console import Bar, err, print_json, progress, say
from rebridge.cli.priors import (
    AnyModel,
    BridgeName,
    ControlNet,
    Detail,
    Method,
    Preset,
    PriorOptions,
    ScheduleName,
    Task,
    open_restorer,
)

if TYPE_CHECKING:
    from rebridge.restoration import FileResult, Job, Restorer

DEFAULT_MODEL = "rdbm-tiny"

Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUT", help="Image files, folders, or patterns such as '*.png'.")
]
Output = Annotated[
    Path, typer.Option("--out", "--output", "-o", help="Folder for the results; for a single file also a file name.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave out files whose result exists.")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Search folders below folders; keep the tree.")]
Suffix = Annotated[str, typer.Option(help="Text to put behind the name of each result, such as _restored.")]
Format = Annotated[str | None, typer.Option(help="png, jpg, webp or tiff; by default that of the input.")]
Quality = Annotated[int, typer.Option(help="Of JPEG and WebP, 1 to 100.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default a GPU where there is one.")]
Dtype = Annotated[str | None, typer.Option(help="float32, or bfloat16 or float16 for speed.")]
Steps = Annotated[int | None, typer.Option(help="Steps of the sampler; by default what the model recommends.")]
SamplerName = Annotated[str | None, typer.Option("--sampler", help="See `rebridge samplers`; by default the model's.")]
Tile = Annotated[int | None, typer.Option(help="Side of the tiles in pixels, 0 for none; by default as memory needs.")]


def restore(
    inputs: Inputs,
    output: Output,
    model: AnyModel = None,
    method: Method = "bridge",
    preset: Preset = None,
    task: Task = None,
    bridge: BridgeName = None,
    schedule: ScheduleName = None,
    controlnet: ControlNet = None,
    detail: Detail = 0.0,
    prior_option: PriorOptions = None,
    steps: Steps = None,
    seed: Seed = 0,
    tile: Tile = None,
    samples: Annotated[int, typer.Option(help="Restorations with different noise to average.")] = 1,
    sampler: SamplerName = None,
    device: Device = None,
    dtype: Dtype = None,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    recursive: Recursive = False,
    suffix: Suffix = "",
    format: Format = None,
    quality: Quality = 95,
    as_json: Json = False,
) -> None:
    """Restore degraded images: `rebridge restore photos -o restored`, or with --method irbridge by a generative prior."""
    check_inputs(inputs)
    from rebridge.restoration import plan
    from rebridge.restoration.files import run

    check_quality(quality)
    jobs = plan(inputs, output, recursive=recursive, suffix=suffix, format=format)
    restorer = open_restorer(
        method,
        model,
        device,
        dtype,
        preset=preset,
        task=task,
        bridge=bridge,
        schedule=schedule,
        controlnet=controlnet,
        detail=detail,
        prior_options=prior_option,
    )
    options: dict[str, Any] = {"steps": steps, "seed": seed, "tile": tile, "samples": samples, "sampler": sampler}
    calls = check_options(restorer, **options) * samples
    writing: dict[str, Any] = {"overwrite": overwrite, "skip_existing": skip_existing, "quality": quality}
    results: list[FileResult] = []
    with progress("restoring") as bar:
        for job in jobs:
            step = StepCounter(bar, len(results), len(jobs), calls, job)
            results.append(run(job, restorer, **writing, **options, callback=step))
        bar(len(jobs), len(jobs))
    finish("restored", results, as_json)


def degrade(
    inputs: Inputs,
    output: Output,
    task: Annotated[
        str,
        typer.Option(
            "--task", "-t", help="rain, haze, snow, raindrop, lowlight, blur, noise, jpeg, sr2, sr4, sr8 or inpaint."
        ),
    ],
    seed: Seed = 0,
    upsample: Annotated[bool, typer.Option("--upsample", help="Enlarge what sr2, sr4, sr8 give back to size.")] = False,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    recursive: Recursive = False,
    suffix: Suffix = "",
    format: Format = None,
    quality: Quality = 95,
    as_json: Json = False,
) -> None:
    """Degrade clean images, reproducibly: `rebridge degrade photos -o rainy --task rain --seed 1`.

    --format png keeps the degradation exactly; JPEG and WebP add losses of their own.
    """
    check_inputs(inputs)
    from rebridge import degradations
    from rebridge.evaluation.cases import degrade as degrade_image
    from rebridge.images import Image
    from rebridge.restoration import plan
    from rebridge.restoration.files import run

    check_quality(quality)
    degradations.create(task)
    jobs = plan(inputs, output, recursive=recursive, suffix=suffix, format=format)
    folders = [Path(entry) for entry in inputs if Path(entry).is_dir()]
    writing: dict[str, Any] = {"overwrite": overwrite, "skip_existing": skip_existing, "quality": quality}
    results: list[FileResult] = []
    with progress("degrading") as bar:
        for job in jobs:
            bar(len(results), len(jobs), job.path.name)
            name = _name_below(job.path, folders)

            def change(image: Image, name: str = name) -> Image:
                pixels = degrade_image(image.pixels, task, seed, name, upsample)
                if pixels.shape != image.pixels.shape and image.alpha is not None:
                    raise ValueError(f"an image with transparency keeps its size: {task} needs --upsample")
                return image.with_pixels(pixels)

            results.append(run(job, change, **writing))
    finish("degraded", results, as_json)


class StepCounter:
    """A sampler's callback that moves a progress bar by one step of one of many files."""

    def __init__(self, bar: Bar, done: int, total: int, calls: int, job: "Job") -> None:
        self.bar, self.done, self.total, self.calls, self.job = bar, done, total, calls, job
        self.count = 0
        bar(done, total, job.path.name)

    def __call__(self, step: int, t: float, x_t: Any, x0_hat: Any) -> None:
        self.count += 1
        self.bar(self.done + min(self.count / self.calls, 1.0), self.total, self.job.path.name)


def check_inputs(inputs: list[str]) -> None:
    """Raise ValueError for an input that is neither there nor a pattern: better told before the work than after."""
    for entry in inputs:
        if not Path(entry).exists() and not any(sign in entry for sign in "*?["):
            raise ValueError(f"{entry}: no such file or folder")


def check_quality(quality: int) -> None:
    """Raise ValueError unless the quality is one of JPEG's and WebP's."""
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be between 1 and 100, got {quality}")


def check_options(
    restorer: "Restorer", steps: int | None, seed: int, tile: int | None, samples: int, sampler: str | None
) -> int:
    """The number of steps of one restoration; raises ValueError for options that would fail for every image."""
    from rebridge.denoisers.tiling import SMALLEST_TILE

    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    if tile is not None and tile != 0 and tile < SMALLEST_TILE:
        raise ValueError(f"tile must be at least {SMALLEST_TILE} pixels, or 0 for no tiling, got {tile}")
    chosen = restorer.sampler(sampler, steps)
    chosen.check(restorer.bridge)
    return chosen.steps


def finish(done: str, results: list["FileResult"], as_json: bool) -> None:
    """Say what became of the files; exit code 1 when some failed."""
    failures = [result for result in results if result.error is not None]
    skipped = sum(result.skipped for result in results)
    if as_json:
        print_json([_record(result) for result in results])
    else:
        written = [result for result in results if result.error is None and not result.skipped]
        seconds = sum(result.seconds for result in written)
        places = {result.output.parent for result in written}
        where = f" in {places.pop()}" if len(places) == 1 else ""
        text = f"{done} {_count(len(written))}{where}, {seconds:.1f} s" if written else f"{done} no file"
        say(text + (f"; {_count(skipped)} skipped, as the result exists" if skipped else ""))
    if failures:
        from rebridge.evaluation.tables import Column, table

        rows = [{"file": result.path.name, "error": result.error} for result in failures]
        title = f"{_count(len(failures))} of {len(results)} failed"
        err().print(table(rows, [Column("file", "file"), Column("error", "reason")], title))
        raise typer.Exit(1)


def _record(result: "FileResult") -> dict[str, Any]:
    return {
        "input": str(result.path),
        "output": None if result.error else str(result.output),
        "seconds": round(result.seconds, 3),
        "skipped": result.skipped,
        "error": result.error,
    }


def _name_below(path: Path, folders: list[Path]) -> str:
    """What seeds the degradation: the path below the input folder, or the name of a file given as such; no suffix."""
    for folder in folders:
        if folder in path.parents:
            return path.relative_to(folder).with_suffix("").as_posix()
    return path.stem


def _count(files: int) -> str:
    return f"{files} file" if files == 1 else f"{files} files"
