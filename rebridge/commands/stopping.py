"""Ctrl-C and SIGTERM: a command that is stopped says what was done before."""

from __future__ import annotations

import signal
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


class Stopped(KeyboardInterrupt):
    """The end of a batch by Ctrl-C or SIGTERM.

    Attributes:
        result: a `rebridge.commands.files.FilesResult` of the files that were done before.
        by: what ended it.
    """

    def __init__(self, result: Any, files: int, by: KeyboardInterrupt) -> None:
        super().__init__(f"{len(result.results)} of {files} files were done")
        self.result = result
        self.by = by


def obey_sigterm() -> None:
    """Let SIGTERM end a command in order, so that it can say what was done."""

    def end(number: int, frame: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)


def ending(stop: KeyboardInterrupt) -> tuple[str, int]:
    """Say how a command ended, in a sentence and as an exit code.

    Returns:
        The sentence, and 130 after Ctrl-C or 143 after SIGTERM, as shells have it: 128 and the signal's number.
    """
    by = stop.by if isinstance(stop, Stopped) else stop
    name, number = ("SIGTERM", signal.SIGTERM) if isinstance(by, Terminated) else ("Ctrl-C", signal.SIGINT)
    return f"stopped by {name}: {stop}" if str(stop) else f"stopped by {name} before its end", 128 + number
