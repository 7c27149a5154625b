"""Commands that read and write image files."""

from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from rebridge.cli.console import end_failed, note, print_json, progress, say
from rebridge.cli.options import Json, command
from rebridge.commands.options import DegradeOptions, EnlargeOptions, InspectOptions, RestoreOptions, SolveOptions
from rebridge.commands.stopping import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from rebridge.commands.files import FilesResult
    from rebridge.commands.pipes import Piped
    from rebridge.restoration.files import FileResult


@command(RestoreOptions)
def restore(options: RestoreOptions, as_json: Json = False) -> None:
    """Restore degraded images: `rebridge restore photos -o restored`.

    Says of each what was found, what was done and how much changed. Animations, and with the extra video films, are
    restored frame by frame. With --method irbridge a generative model restores, inside a bridge.
    """
    from rebridge.commands.restore import restore

    _run("restor", restore, options, as_json)


@command(EnlargeOptions)
def enlarge(options: EnlargeOptions, as_json: Json = False) -> None:
    """Enlarge images: `rebridge enlarge small.jpg --by 4 -o large.png`.

    Shrunk again, the result is the picture that it was made of, whatever a model paints.
    """
    from rebridge.commands.enlarge import enlarge

    _run("enlarg", enlarge, options, as_json)


@command(InspectOptions)
def inspect(options: InspectOptions, as_json: Json = False) -> None:
    """Say what ails pictures, with probabilities: `rebridge inspect photos`.

    Exit code 1 where a file cannot be read.
    """
    from rebridge.commands.inspect import inspect

    with progress("inspecting") as bar:
        results = inspect(options, bar, None if as_json else lambda one: (note if one.error else say)(one.sentence))
    if as_json:
        print_json([one.record for one in results])
    if any(one.error for one in results):
        raise typer.Exit(1)


@command(DegradeOptions)
def degrade(options: DegradeOptions, as_json: Json = False) -> None:
    """Degrade clean images: `rebridge degrade photos -o rainy --task rain --seed 1`.

    --format png keeps the degradation exactly; JPEG and WebP add losses of their own.
    """
    from rebridge.commands.degrade import degrade

    _run_batch("degrading", degrade, options, partial(_show, "degraded", as_json))


@command(SolveOptions)
def solve(options: SolveOptions, as_json: Json = False) -> None:
    """Solve y = A x + noise, with a known operator A, by a generative model.

    `rebridge solve small.png --operator sr4 --solver red-diff -o big.png`. Nothing is trained. INPUT are measurements, as
    pictures or .npy files, or with --simulate clean images. Results are PNG unless --format or the output's name says
    otherwise. With --samples 8 it also writes how far the samples differ, as PNG and NPZ.
    """
    from rebridge.commands.solve import solve

    _run_batch("solving", solve, options, partial(_show_solved, as_json))


def _show_solved(as_json: bool, result: "FilesResult") -> None:
    from rebridge.commands.solve import solved

    for sentence in result.notes():
        note(sentence)
    if as_json:
        print_json({**result.totals(), "results": result.records()})
        return
    for row in result.written:
        say(solved(row.details))


def _run_batch(doing: str, run: "Callable[..., FilesResult]", options: Any, show: "Callable[[FilesResult], None]",
               **given: Any) -> "FilesResult":  # fmt: skip
    """Run a command on files and show what became of them, also where it is stopped."""
    try:
        with progress(doing) as bar:
            result = run(options, bar, **given)
    except Stopped as stop:
        show(stop.result)
        raise
    show(result)
    end_failed([{"file": row.path.name, "reason": row.error} for row in result.failures], len(result.results))
    return result


def _run(verb: str, run: "Callable[..., FilesResult]", options: Any, as_json: bool) -> None:
    """Run a command on files; each is told of once it is done."""
    from rebridge.commands.files import sentence
    from rebridge.commands.pipes import piped
    from rebridge.commands.viewing import to_open

    with piped(options) as pipe:
        print_line = note if pipe.is_stdout else say

        def tell(row: "FileResult") -> None:
            if row.error is None and not as_json:
                print_line(pipe.named(sentence(row)))

        def show(result: "FilesResult") -> None:
            for row in result.results if options.dry_run else ():
                tell(row)
            _show(f"would have {verb}ed" if options.dry_run else f"{verb}ed", as_json, result, pipe)

        result = _run_batch(f"{verb}ing", run, pipe.options, show, finished=tell)
    if options.open and (place := to_open(result)) is not None:
        typer.launch(str(place))


def _show(done: str, as_json: bool, result: "FilesResult", pipe: "Piped[Any] | None" = None) -> None:
    """Say what became of the files."""
    quiet = pipe is not None and pipe.is_stdout
    for sentence in result.notes():
        note(sentence)
    if as_json:
        print_json(result.records() if pipe is None else pipe.records(result), to_stderr=quiet)
    else:
        (note if quiet else say)(result.summary(done))
