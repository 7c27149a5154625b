"""Progress of commands; a caller cancels by raising from its callback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOG_SECONDS = 10.0
"""Between two lines of progress, where no bar can be shown."""

Reporter = Callable[[float, float, str], None]
"""Called as (done, total, note), in any unit; the note says what is being done."""


class _Cancelled(BaseException):
    """Carries an exception of the caller's callback past the handling of files that fail."""

    def __init__(self, error: Exception, reporter: Reporter) -> None:
        super().__init__(str(error))
        self.error = error
        self.reporter = reporter


def silent(done: float, total: float, note: str = "") -> None:
    """Reporter nothing."""


@contextmanager
def cancellable(progress: Reporter | None) -> Iterator[Reporter]:
    """Yield a callback whose exceptions end the command, not just one file.

    Args:
        progress: the caller's callback, or None.

    Raises:
        Exception: whatever `progress` raises, unchanged.
    """
    inner = silent if progress is None else progress

    def report(done: float, total: float, note: str = "") -> None:
        try:
            inner(done, total, note)
        except Exception as error:
            raise _Cancelled(error, report) from error

    try:
        yield report
    except _Cancelled as cancelled:
        if cancelled.reporter is not report:  # of a command around this one, which is cancelled as a whole
            raise
        raise cancelled.error from None


def in_lines(verb: str, tell: Callable[[str], None]) -> Reporter:
    """Make a callback that tells of progress in lines.

    Not more often than every `LOG_SECONDS`.
    """
    last = time.monotonic()

    def update(done: float, total: float, note: str = "") -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_SECONDS:
            last = time.monotonic()
            tell(f"{verb}: {done:.2f} of {total:g} ({100 * done / max(total, 1e-9):.0f} %) {note}".rstrip())

    return update
