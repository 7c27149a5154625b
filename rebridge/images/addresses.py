"""Files at addresses such as s3://bucket/photos, by fsspec.

Any of fsspec's file systems serves; each needs its own package (s3fs for s3://, gcsfs for gs://), and fsspec says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(?:::[^:]+)*:/+(.*)", re.DOTALL)
"""A scheme of at least two letters: one letter is a drive of Windows."""
_ROOTED = ("file", "local")
"""Schemes whose paths begin at the root of a disk."""
_MAGIC = re.compile(r"[*?\[]")


def address_of(text: str | Path) -> str | None:
    """Read an address, or None for a path.

    Also one that passed through a `Path`, which takes a slash away.
    """
    found = _ADDRESS.fullmatch(str(text))
    if found is None:
        return None
    scheme, rest = found.groups()
    return f"{scheme}://{'/' if scheme in _ROOTED else ''}{rest}"


def as_written(path: str | Path) -> str:
    """Write a path or an address as people do."""
    return address_of(path) or str(path)


def list_files(address: str, recursive: bool = False) -> dict[str, PurePosixPath]:
    """List the files of an address: a file, a folder or a pattern.

    Args:
        address: see the head of this module.
        recursive: also what lies below folders.

    Returns:
        The address of each file, with its place below the folder or the fixed part of the pattern.

    Raises:
        ValueError: an unknown scheme, a missing package, or nothing there; one sentence.
    """
    system, path = _opened(address)
    scheme = address.partition("://")[0]
    with _explained(ValueError, f"{address} cannot be listed: "):
        if _MAGIC.search(path):
            names = [name for name in system.glob(path) if system.isfile(name)]
            root = path[: _MAGIC.search(path).start()].rpartition("/")[0]  # type: ignore[union-attr]
        elif system.isdir(path):
            names, root = system.find(path, maxdepth=None if recursive else 1), path
        else:
            names, root = [path] if system.exists(path) else [], path.rpartition("/")[0]
    if not names:
        raise ValueError(f"{address}: no such file or folder")
    start = len(root.rstrip("/")) + 1 if root.strip("/") else len(root)
    return {f"{scheme}://{name}": PurePosixPath(name[start:].lstrip("/")) for name in sorted(names)}


def fetch(address: str, path: Path) -> None:
    """Copy a file from an address; OSError where it cannot be read."""
    system, name = _opened(address)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _explained(OSError):
        system.get_file(name, str(path))


def put(path: Path, address: str) -> None:
    """Copy a file to an address.

    Where files can be moved, it has another name until it is whole.

    Raises:
        OSError: it cannot be written.
    """
    system, name = _opened(address)
    parent = name.rpartition("/")[0]
    with _explained(OSError):
        if parent:
            system.makedirs(parent, exist_ok=True)
        if "file" in system.protocol:
            partial = f"{parent}/.{name.rpartition('/')[2]}.uploading"
            system.put_file(str(path), partial)
            system.mv(partial, name)
        else:  # object stores show an upload when it is whole
            system.put_file(str(path), name)


def existing(address: str) -> list[PurePosixPath]:
    """List what lies below a folder at an address, by place; nothing without one.

    Raises:
        ValueError: it cannot be listed.
    """
    system, path = _opened(address)
    with _explained(ValueError, f"{address} cannot be listed: "):
        names = system.find(path) if system.isdir(path) else []
    start = len(path.rstrip("/")) + 1
    return [PurePosixPath(name[start:]) for name in names]


def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    from fsspec.core import url_to_fs

    with _explained(ValueError, f"{address} cannot be opened: "):
        system, path = url_to_fs(address)
    return system, str(path)


@contextmanager
def _explained(kind: type[Exception], begin: str = "") -> Iterator[None]:
    """Turn the errors of file systems, each of which has its own, into one sentence."""
    try:
        yield
    except Exception as error:
        raise kind(begin + (" ".join(str(error).split()) or type(error).__name__)) from error
