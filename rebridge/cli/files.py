"""Commands that read and write image files: restore, solve, degrade."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rebridge.cli.console import counted, end_failed, note, print_json, progress, say
from rebridge.cli.options import NUMBER, TASK, Json, command, option
from rebridge.commands.options import DegradeOptions, RestoreOptions, SolveOptions
from rebridge.commands.stopping import Stopped

if TYPE_CHECKING:
    from rebridge.commands.files import FilesResult


@command(RestoreOptions)
def restore(options: RestoreOptions, as_json: Json = False) -> None:
    """Restore degraded images: `rebridge restore photos -o restored`.

    With --method irbridge a generative model restores, inside a bridge.
    """
    from rebridge.commands.restore import restore

    _run("restoring", restore, options, partial(_show, "restored", as_json))


@command(
    DegradeOptions,
    task=option(str, "rain, haze, snow, raindrop, lowlight, blur, noise, jpeg, sr2, sr4, sr8 or inpaint.", *TASK),
)
def degrade(options: DegradeOptions, as_json: Json = False) -> None:
    """Degrade clean images: `rebridge degrade photos -o rainy --task rain --seed 1`.

    --format png keeps the degradation exactly; JPEG and WebP add losses of their own.
    """
    from rebridge.commands.degrade import degrade

    _run("degrading", degrade, options, partial(_show, "degraded", as_json))


@command(SolveOptions, steps=option(NUMBER, "Steps of the solver; by default its own."))
def solve(options: SolveOptions, as_json: Json = False) -> None:
    """Solve y = A x + noise, with a known operator A, by a generative model.

    `rebridge solve small.png --operator sr4 --solver red-diff -o big.png`. Nothing is trained. INPUT are measurements, as
    pictures or .npy files, or with --simulate clean images. Results are PNG unless --format or the output's name says
    otherwise. With --samples 8 it also writes how far the samples differ, as PNG and NPZ.
    """
    from rebridge.commands.solve import solve

    _run("solving", solve, options, partial(_show_solved, as_json))


def _show_solved(as_json: bool, result: "FilesResult") -> None:
    for sentence in result.notes():
        note(sentence)
    if as_json:
        print_json({**result.totals(), "results": result.records()})
        return
    for row in (row.details for row in result.written):
        text = f"wrote {', '.join(map(str, row['files']))}: {row['calls']} network calls, {row['seconds']:.1f} s"
        text += "" if row["psnr"] is None else f", PSNR {row['psnr']:.2f} dB"
        spread = f"; white in the map is a standard deviation of {row['largest_std']:.4f}"
        say(text + (spread if row["largest_std"] > 0 else ""))


def _run(doing: str, command: Any, options: Any, show: "Callable[[FilesResult], None]") -> None:
    """Run a command on files and show what became of them, also where it is stopped; exit code 1 when some failed."""
    try:
        with progress(doing) as bar:
            result = command(options, bar)
    except Stopped as stop:
        show(stop.result)
        raise
    show(result)
    end_failed([{"file": row.path.name, "reason": row.error} for row in result.failures], len(result.results))


def _show(done: str, as_json: bool, result: "FilesResult") -> None:
    for sentence in result.notes():
        note(sentence)
    if as_json:
        print_json(result.records())
    else:
        written, skipped = result.written, len(result.skipped)
        places = {row.output.parent for row in written}
        where = f" in {places.pop()}" if len(places) == 1 else ""
        text = f"{done} {counted(len(written))}{where}, {sum(row.seconds for row in written):.1f} s"
        text = text if written else f"{done} no file"
        say(text + (f"; {counted(skipped)} skipped, as the result exists" if skipped else ""))
