"""Input files of a batch: files, folders and patterns become a list of pictures, each with its place below its input."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from rebridge.images import READABLE_SUFFIXES
from rebridge.images.regular import resolved

_MAGIC = "*?["


def find_files(
    inputs: Iterable[str | Path],
    target: Path | None = None,
    *,
    recursive: bool = False,
    readable: Collection[str] = READABLE_SUFFIXES,
) -> dict[Path, Path]:
    """List files in order, each with its place below its input.

    Args:
        inputs: as in `plan`.
        target: the output folder, which may lie in an input, and holds no inputs.
        recursive: as in `plan`.
        readable: as in `plan`.

    Raises:
        ValueError: nothing is found.
    """
    entries = list(inputs)
    found: dict[Path, Path] = {}
    for entry in entries:
        for path, relative in _expand(entry, recursive, target, readable):
            found.setdefault(path, relative)
    if not found:
        names = ", ".join(str(entry) for entry in entries) or "no input"
        raise ValueError(
            f"no images found: {names}" + ("" if recursive else " (folders below are searched with recursive)")
        )
    return found


def _expand(
    entry: str | Path, recursive: bool, target: Path | None, readable: Collection[str]
) -> list[tuple[Path, Path]]:
    """List (file, its place in the output folder) for one input; a file that is missing is kept, and fails when read."""
    path = Path(entry)
    if path.is_dir():
        candidates = path.rglob("*") if recursive else path.iterdir()
        inside = resolved(target or path)
        files = [file for file in candidates if is_picture(file, readable) and not _below(file, inside, path)]
        return [(file, file.relative_to(path)) for file in sorted(files)]
    if path.exists() or not any(sign in str(entry) for sign in _MAGIC):
        return [(path, Path(path.name))]
    base = Path(*_fixed_part(path))
    files = [file for file in _matching(base, path.parts[len(base.parts) :]) if is_picture(file, readable)]
    return [(file, file.relative_to(base)) for file in sorted(files)]


def _matching(base: Path, parts: Sequence[str]) -> list[Path]:
    """Files below a folder that a pattern names; ** goes into folders below, but through no link and into no hidden one."""
    pattern = "/".join(part if part == "**" else re.sub(r"\*{2,}", "*", part) for part in parts)
    files = dict.fromkeys(base.glob(pattern))
    return [file for file in files if not any(_hidden(part, parts) for part in file.relative_to(base).parts)]


def _hidden(part: str, pattern: Sequence[str]) -> bool:
    """True for a part of a path that only a pattern which names it finds."""
    return part.startswith(".") and part not in pattern


def _fixed_part(pattern: Path) -> list[str]:
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if any(sign in part for sign in _MAGIC):
            break
        parts.append(part)
    return parts


def is_picture(path: Path, readable: Collection[str]) -> bool:
    """True for a file that is not hidden and whose name ends as one of the readable ones."""
    return path.suffix.lower() in readable and not path.name.startswith(".") and path.is_file()


def _below(file: Path, folder: Path, root: Path) -> bool:
    """True for a file in the output folder, which may lie inside the input: results of earlier runs are no input."""
    return folder != resolved(root) and folder in resolved(file).parents
