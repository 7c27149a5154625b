"""Consoles, ends of errors and progress bars that all commands share."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from rebridge.commands.progress import in_lines
from rebridge.commands.stopping import ending
from rebridge.commands.words import counted, printable, sentence_of

if TYPE_CHECKING:
    from rich.console import Console

    from rebridge.commands.progress import Reporter

PIPE_WIDTH = 240
"""Columns of tables that go to a file or another program, where cutting words off would lose data."""


class Commands(TyperGroup):
    """Commands that answer bad input with one sentence and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; a ValueError or OSError of the library is bad input."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:  # Pydantic, which parses, introduces its sentences
            raise typer.BadParameter(error.message.removeprefix("Value error, "), error.ctx, error.param) from None
        except BrokenPipeError:
            raise
        except KeyboardInterrupt as stop:
            sentence, code = ending(stop)
            fail(sentence)
            raise typer.Exit(code) from stop
        except (ValueError, OSError) as error:
            if os.environ.get("REBRIDGE_TRACEBACK"):
                raise
            fail(sentence_of(error))
            raise typer.Exit(2) from error


@cache
def warn(sentence: str) -> None:
    """Print a warning once, and not the line of code that it comes from."""
    err().print(f"Warning: {printable(sentence)}", markup=False, highlight=False, soft_wrap=True)


def out() -> "Console":
    """The console for results: stdout."""
    return _console(stderr=False)


def err() -> "Console":
    """The console for progress and errors: stderr."""
    return _console(stderr=True)


def fail(sentence: str) -> None:
    """Print "Error: sentence" to stderr."""
    err().print("[bold red]Error:[/] ", end="")
    err().print(printable(sentence), markup=False, highlight=False, soft_wrap=True)


def say(sentence: str) -> None:
    """Print a sentence to stdout, never wrapped."""
    out().print(printable(sentence), markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any, to_stderr: bool = False) -> None:
    """Print JSON to stdout, as plain text that other programs can read."""
    print(json.dumps(value, indent=2, allow_nan=False), file=sys.stderr if to_stderr else sys.stdout)


@contextmanager
def progress(verb: str) -> "Iterator[Reporter]":
    """Show progress on stderr, as a bar on a terminal and as lines elsewhere."""
    console = err()
    if not console.is_terminal:
        yield in_lines(verb, lambda line: console.print(printable(line), markup=False, highlight=False, soft_wrap=True))
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(verb),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # lines that are printed meanwhile go above the bar
    )
    with bar:
        task = bar.add_task(verb, total=None, note="")

        def update(done: float, total: float, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=escape(printable(note)))

        yield update


def note(sentence: str | None) -> None:
    """Print what a user should know to stderr, where there is something."""
    if sentence:
        err().print(f"Note: {printable(sentence)}", markup=False, highlight=False, soft_wrap=True)


def end_failed(failures: Sequence[Mapping[str, Any]], total: int) -> None:
    """Show what failed; exit code 1 where something did."""
    if failures:
        show_table(failures, f"{counted(len(failures))} of {total} failed", err())
        raise typer.Exit(1)


def show_table(rows: Sequence[Mapping[str, Any]], title: str | None = None, console: "Console | None" = None) -> None:
    """Print rows of text by heading as a table."""
    from rich.table import Column, Table
    from rich.text import Text

    keys = dict.fromkeys(key for row in rows for key in row)
    columns = (Column(key, overflow="fold") for key in keys)
    table = Table(*columns, title=title, title_justify="left", title_style="bold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(key))) for key in keys))
    (console or out()).print(table)


def _cell(value: Any) -> str:
    value = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return {None: "-", True: "yes", False: "no"}.get(value, printable(str(value)))


def _console(stderr: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, width=None if (sys.stderr if stderr else sys.stdout).isatty() else PIPE_WIDTH)
