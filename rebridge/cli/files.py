"""Commands that read and write image files: restore, solve, degrade."""

from typing import TYPE_CHECKING

import typer

from rebridge.cli.console import err, note, print_json, progress, say, show_table
from rebridge.cli.options import NUMBER, TASK, Json, command, option
from rebridge.commands.options import DegradeOptions, RestoreOptions, SolveOptions

if TYPE_CHECKING:
    from rebridge.commands.files import FilesResult


@command(RestoreOptions)
def restore(options: RestoreOptions, as_json: Json = False) -> None:
    """Restore degraded images: `rebridge restore photos -o restored`.

    With --method irbridge a generative model restores, inside a bridge.
    """
    from rebridge.commands.restore import restore

    with progress("restoring") as bar:
        result = restore(options, bar)
    _finish("restored", result, as_json)


@command(
    DegradeOptions,
    task=option(str, "rain, haze, snow, raindrop, lowlight, blur, noise, jpeg, sr2, sr4, sr8 or inpaint.", *TASK),
)
def degrade(options: DegradeOptions, as_json: Json = False) -> None:
    """Degrade clean images: `rebridge degrade photos -o rainy --task rain --seed 1`.

    --format png keeps the degradation exactly; JPEG and WebP add losses of their own.
    """
    from rebridge.commands.degrade import degrade

    with progress("degrading") as bar:
        result = degrade(options, bar)
    _finish("degraded", result, as_json)


@command(SolveOptions, steps=option(NUMBER, "Steps of the solver; by default its own."))
def solve(options: SolveOptions, as_json: Json = False) -> None:
    """Solve y = A x + noise, with a known operator A, by a generative model.

    `rebridge solve small.png --operator sr4 --solver red-diff -o big.png`. Nothing is trained. INPUT are measurements, as
    pictures or .npy files, or with --simulate clean images. Results are PNG unless --format or the output's name says
    otherwise. With --samples 8 it also writes how far the samples differ, as PNG and NPZ.
    """
    from rebridge.commands.solve import solve

    with progress("solving") as bar:
        result = solve(options, bar)
    rows = [row.details for row in result.written]
    for sentence in result.notes():
        note(sentence)
    if as_json:
        print_json({**result.totals(), "results": result.records()})
    else:
        for row in rows:
            text = f"wrote {', '.join(map(str, row['files']))}: {row['calls']} network calls, {row['seconds']:.1f} s"
            text += "" if row["psnr"] is None else f", PSNR {row['psnr']:.2f} dB"
            spread = f"; white in the map is a standard deviation of {row['largest_std']:.4f}"
            say(text + (spread if options.samples > 1 else ""))
    _fail(result)


def _finish(done: str, result: "FilesResult", as_json: bool) -> None:
    """Say what became of the files; exit code 1 when some failed."""
    for sentence in result.notes():
        note(sentence)
    if as_json:
        print_json(result.records())
    else:
        written, skipped = result.written, len(result.skipped)
        places = {row.output.parent for row in written}
        where = f" in {places.pop()}" if len(places) == 1 else ""
        seconds = sum(row.seconds for row in written)
        text = f"{done} {_count(len(written))}{where}, {seconds:.1f} s" if written else f"{done} no file"
        say(text + (f"; {_count(skipped)} skipped, as the result exists" if skipped else ""))
    _fail(result)


def _fail(result: "FilesResult") -> None:
    if result.failures:
        rows = [{"file": row.path.name, "reason": row.error} for row in result.failures]
        show_table(rows, f"{_count(len(rows))} of {len(result.results)} failed", err())
        raise typer.Exit(1)


def _count(files: int) -> str:
    return f"{files} file" if files == 1 else f"{files} files"
