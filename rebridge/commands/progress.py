"""Progress of commands; a caller cancels by raising from its callback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Reporter = Callable[[float, float, str], None]
"""Called as (done, total, note), in any unit; the note says what is being done."""


class _Cancelled(BaseException):
    """Carries an exception of the caller's callback past the handling of files that fail."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


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
            raise _Cancelled(error) from error

    try:
        yield report
    except _Cancelled as cancelled:
        raise cancelled.error from None
