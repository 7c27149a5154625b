"""Progress of commands, and how a caller cancels one: by raising from its callback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[float, float, str], None]
"""Called as (done, total, note), in any unit; the note says what is being done."""


class _Cancelled(BaseException):
    """Carries an exception of the caller's callback past the handling of files that fail."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def silent(done: float, total: float, note: str = "") -> None:
    """Report nothing."""


@contextmanager
def cancellable(progress: Report | None) -> Iterator[Report]:
    """Yield a callback whose exceptions end the whole command instead of counting as one file's failure.

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
            raise _Cancelled(error) from error

    try:
        yield report
    except _Cancelled as cancelled:
        raise cancelled.error from None
