"""A lock for the output folder of a run.

It ends with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar
from weakref import WeakValueDictionary

from rebridge.images.atomic import reason
from rebridge.images.regular import irregular
from rebridge.training.checkpoints import CheckpointError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"


class RunLock:
    """The right to write into the output folder of a run.

    It belongs to this process alone: forked workers do not share it, so it is free as soon as the process is gone. A second
    run in the same process is refused too. Where the file system has no locks, only that is.

    Args:
        output: the folder; created where it is missing.

    Raises:
        CheckpointError: another run writes there, or the folder cannot be written.
    """

    _held: ClassVar[WeakValueDictionary[str, RunLock]] = WeakValueDictionary()

    def __init__(self, output: Path) -> None:
        self._file: IO[str] | None = None
        path = output / LOCK_FILE
        try:
            output.mkdir(parents=True, exist_ok=True)
            self._name = os.path.realpath(path)
            if self._name in self._held:
                raise CheckpointError(_busy(output, f"process {os.getpid()} on {socket.gethostname()}"))
            if path.exists() and (problem := irregular(path, "a lock file")) is not None:
                raise CheckpointError(f"{path} {problem}; remove it")
            self._file = open(path, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115  (held until the run ends)
        except OSError as error:
            raise CheckpointError(f"{output} cannot be written: {reason(error)}") from None
        if fcntl is not None:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                self._file.seek(0)
                owner = self._file.read(200).strip()
                self._file.close()
                raise CheckpointError(_busy(output, owner or "another process")) from None
            except OSError:  # no locks on this file system
                pass
        with contextlib.suppress(OSError):
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._file.flush()
        self._held[self._name] = self

    def release(self) -> None:
        """Let others write; nothing where that was done already."""
        if self._file is not None and self._held.pop(self._name, None) is not None:
            self._file.close()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _busy(output: Path, owner: str) -> str:
    return f"{output} is being written by another run ({owner}): wait for its end, or choose another output"
