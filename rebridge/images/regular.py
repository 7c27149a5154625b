"""Regular files, the only ones that are opened.

Pipes, devices and folders are refused at once, whatever was to be read from them.
"""

import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def irregular(path: str | Path, what: str = "an image file") -> str | None:
    """Say why a path is no regular file that can be opened, or None if it is one.

    Never blocks: pipes and devices are recognised without being opened.

    Args:
        path: of the file.
        what: the kind of file that was expected, for the sentence.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "is a broken link" if os.path.islink(path) else "no such file"
    except NotADirectoryError:
        return "no such file"
    except ValueError:
        return "is no possible file name"
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    return _wrong_kind(mode, what)


def read_regular(
    path: str | Path, limit: int | None = None, what: str = "an image file"
) -> tuple[bytes, os.stat_result]:
    """Read a whole regular file of at most `limit` bytes.

    Args:
        path: of the file.
        limit: greatest size in bytes; None for any.
        what: the kind of file that was expected, for errors.

    Returns:
        The content and the status of the file that was read.

    Raises:
        ValueError: the path is no regular file, or the file is larger.
        OSError: the system refuses.
    """
    # Opening a pipe without O_NONBLOCK would wait for a writer; the file may have been exchanged since it was checked.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        sentence = _wrong_kind(status.st_mode, what)
        if sentence is not None:
            raise ValueError(sentence)
        if limit is not None and status.st_size > limit:
            kind = what.partition(" ")[2]
            raise ValueError(f"its {status.st_size:,} bytes are more than any {kind} within the limits needs")
        return file.read(-1 if limit is None else limit), status


def _wrong_kind(mode: int, what: str) -> str | None:
    """Say what something is that is no regular file."""
    return next((f"is {kind}, not {what}" for test, kind in _KINDS if test(mode)), None)
