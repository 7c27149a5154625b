"""Warnings of pictures, which become notes of the file that a thread works on."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from rebridge.images import ImageWarning

_NOTES: ContextVar[list[str] | None] = ContextVar("notes of the file that is worked on", default=None)


@contextmanager
def noted(notes: list[str]) -> Iterator[None]:
    """Take the sentences of this thread's `ImageWarning`s.

    Other warnings are shown as ever.

    notes: gets one sentence for each.
    """
    with gathering_notes():
        token = _NOTES.set(notes)
        try:
            yield
        finally:
            _NOTES.reset(token)


class _Gathering:
    """Warnings of pictures become notes of the file that their thread works on, in as many threads as there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._caught = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._begin()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._caught.close()

    def _begin(self) -> None:
        show = warnings.showwarning

        def taken(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            notes = _NOTES.get()
            if notes is not None and issubclass(category, ImageWarning):
                notes.append(str(message))
            else:
                show(message, category, *place, **more)

        self._caught.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always", ImageWarning)
        warnings.showwarning = taken


gathering_notes = _Gathering()
"""Context in which warnings of pictures are notes; of a batch, so that threads need not agree on it file by file."""
