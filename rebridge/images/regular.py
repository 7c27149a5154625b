"""Regular files, the only ones that are opened as pictures.

Pipes, devices and folders are refused at once.
"""

import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "is a folder, not an image file"),
    (stat.S_ISFIFO, "is a named pipe, not an image file"),
    (stat.S_ISSOCK, "is a socket, not an image file"),
    (stat.S_ISCHR, "is a device, not an image file"),
    (stat.S_ISBLK, "is a device, not an image file"),
)


def irregular(path: str | Path) -> str | None:
    """Say why a path is no regular file that can be opened, or None if it is one.

    Never blocks: pipes and devices are recognised without being opened.
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
    for test, sentence in _KINDS:
        if test(mode):
            return sentence
    return None


def read_regular(path: str | Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Read a whole regular file of at most `limit` bytes.

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
        for test, sentence in _KINDS:
            if test(status.st_mode):
                raise ValueError(sentence)
        if status.st_size > limit:
            raise ValueError(f"its {status.st_size:,} bytes are more than any picture within the limits needs")
        return file.read(limit), status
