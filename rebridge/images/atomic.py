"""Files that appear whole or not at all."""

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LONGEST = 100
"""Bytes of the final name that a temporary name repeats; names may have 255."""
_LEFTOVER = re.compile(r"\..*\.[0-9a-f]{12}\.part", re.DOTALL)
_UNLOCKED_AGE = 3600.0


def write_atomic(
    path: str | Path, data: bytes | Iterable[bytes], overwrite: bool = False, modified: float | None = None
) -> None:
    """Write data through a temporary file in the same folder.

    A reader never sees half a file, and a failure (full disk, no permission) leaves what was there untouched. A file
    that is replaced keeps its permissions.

    Args:
        path: of the file; missing folders are created.
        data: its bytes, or parts of them one after the other.
        overwrite: replace a file that exists.
        modified: time of last change to give the file, in seconds; None for now.

    Raises:
        FileExistsError: the file exists and `overwrite` is false.
        OSError: the disk refuses.
    """
    with written_whole(path, overwrite, modified) as (_, file):
        file.writelines([data] if isinstance(data, bytes) else data)


@contextlib.contextmanager
def written_whole(
    path: str | Path, overwrite: bool = False, modified: float | None = None
) -> Iterator[tuple[Path, IO[bytes]]]:
    """Yield a temporary file, and its path, that becomes `path` once it is written.

    Args:
        path, overwrite, modified: see `write_atomic`.

    Raises:
        FileExistsError: the file exists and `overwrite` is false.
        OSError: the disk refuses.
    """
    path = Path(path)
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} exists already; pass overwrite to replace it")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{path} is a folder, not a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    if overwrite:
        path = _followed(path)
    with _temporary(path) as (partial, file):
        yield partial, file
        file.flush()
        os.fsync(file.fileno())
        if overwrite:
            _copy_permissions(path, partial)
        if modified is not None:
            with contextlib.suppress(OSError, OverflowError, ValueError):
                os.utime(partial, (time.time(), modified))
        if overwrite:
            os.replace(partial, path)
        else:
            _publish(partial, path)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Make a locked temporary folder for files that are to appear together.

    It lies beside the path, and is gone afterwards, unless it was renamed. Those of the same name that killed programs
    left are removed first.
    """
    partial = _temporary_name(path)
    for left in path.parent.glob(glob.escape(partial.name[:-17]) + "*.part"):
        if _LEFTOVER.fullmatch(left.name) and left.is_dir() and not left.is_symlink():
            with contextlib.suppress(OSError):
                _is_abandoned(left)
    partial.mkdir(parents=True)
    lock = None
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                lock = os.open(partial, os.O_RDONLY)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield partial
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(partial, ignore_errors=True)


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Remove temporary files of `write_atomic` that killed programs left in a folder.

    A file that is still being written is locked by its writer and stays; where files cannot be locked, only those
    older than an hour go.

    Returns:
        The files that were removed.
    """
    removed = []
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _LEFTOVER.fullmatch(entry.name)]
    except OSError:
        return []
    for name in names:
        path = Path(folder) / name
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.lstat(path).st_mode) and _is_abandoned(path):
                removed.append(path)
    return removed


def check_folder(folder: str | Path) -> None:
    """Create a folder where it is missing and prove that files can be written there.

    Raises:
        OSError: they cannot.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "is no folder", str(folder)) from None
    with _temporary(folder / "probe"):
        pass


def check_new_folder(folder: str | Path) -> None:
    """Prove that a folder can be made at a place, or written if it is there.

    Raises:
        OSError: it cannot.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is no folder", str(folder))
    check_folder(folder if folder.is_dir() else folder.parent)


def reason(error: BaseException) -> str:
    """Extract the part of an exception that is worth showing.

    'No space left on device' rather than '[Errno 28] ...', and one sentence for all that allocators say.
    """
    if out_of_memory(error):
        return "there is not enough memory"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    """Test if an exception says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # that of torch
        return True
    text = str(error).lower() if isinstance(error, RuntimeError) else ""
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """Open a locked temporary file beside a path.

    It is gone afterwards, unless it was renamed.
    """
    while True:
        partial = _temporary_name(path)
        try:
            with open(partial, "xb") as file:
                if fcntl is not None:
                    with contextlib.suppress(OSError):
                        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
                    # Another program may have removed the file as a leftover before it was locked.
                    if os.fstat(file.fileno()).st_nlink == 0:
                        continue
                yield partial, file
        finally:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
        return


def _temporary_name(path: Path) -> Path:
    stem = os.fsencode(path.name)[:_LONGEST].decode("utf-8", "ignore")
    return path.with_name(f".{stem}.{secrets.token_hex(6)}.part")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_abandoned(path: Path) -> bool:
    """Remove a temporary file or folder unless somebody still writes it.

    Tells whether it was removed.
    """
    if fcntl is None:
        if time.time() - path.stat().st_mtime < _UNLOCKED_AGE:
            return False
        _remove(path)
        return True
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
    finally:
        os.close(descriptor)
    return True


def _followed(path: Path) -> Path:
    """The file that a link leads to."""
    try:
        return path.resolve()
    except RuntimeError as error:  # how older versions of Python report a loop
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


def _copy_permissions(source: Path, target: Path) -> None:
    """Give one file the permissions and owner of another, if that exists.

    What is not allowed is left.
    """
    try:
        status = os.stat(source)
    except FileNotFoundError:
        return
    if hasattr(os, "chown") and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(OSError):
            os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))


def _publish(partial: Path, path: Path) -> None:
    """Give a temporary file its final name, never replacing another.

    Somebody else may just have put one there.
    """
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
