"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path


def write_atomic(path: str | Path, data: bytes, overwrite: bool = False) -> None:
    """Write data through a temporary file in the same folder.

    A reader never sees half a file, and a failure (full disk, no permission) leaves what was there untouched.

    Args:
        path: of the file; missing folders are created.
        data: its bytes.
        overwrite: replace a file that exists.

    Raises:
        FileExistsError: the file exists and `overwrite` is false.
        OSError: the disk refuses.
    """
    path = Path(path)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} exists already; pass overwrite to replace it")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    if overwrite:
        path = path.resolve()
    partial = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.part")
    try:
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(partial, path)
        else:
            _publish(partial, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def _publish(partial: Path, path: Path) -> None:
    """Give `partial` its final name without ever replacing a file that somebody else has just put there."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise FileExistsError(f"{path} exists already; pass overwrite to replace it") from None
    except OSError:
        # No hard links on this file system: an exclusively created empty file claims the name instead.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(partial, path)
        except OSError:
            path.unlink()
            raise


def reason(error: BaseException) -> str:
    """Extract the part of an exception that is worth showing.

    'No space left on device' rather than '[Errno 28] ...'.
    """
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
