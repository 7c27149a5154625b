"""Inputs of a batch: files, folders and globs."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

_MAGIC = "*?["


def files_of(
    entry: str | Path, recursive: bool, target: Path | None, readable: Collection[str]
) -> list[tuple[Path, Path]]:
    """List the files of one input, each with its place in the output folder.

    Links to folders are not followed where folders are searched deeply. A file that is missing is kept, and fails when read.

    Args:
        entry: a file, a folder or a glob.
        recursive: search what lies below a folder too.
        target: the output folder, which may lie in the input, and holds no inputs.
        readable: suffixes of the files that count in folders and globs.
    """
    path = Path(entry)
    if path.is_dir():
        candidates = path.rglob("*") if recursive else path.iterdir()
        inside = real_path(target or path)
        files = [file for file in candidates if is_readable(file, readable) and not _below(file, inside, path)]
        return [(file, file.relative_to(path)) for file in sorted(files)]
    if path.exists() or not any(sign in str(entry) for sign in _MAGIC):
        return [(path, Path(path.name))]
    return [(file, place) for file, place in _matching(path, target) if is_readable(file, readable)]


def _matching(pattern: Path, target: Path | None) -> Iterator[tuple[Path, Path]]:
    """Yield what a glob finds, sorted, each with its place below the part without wildcards.

    `Path.glob`, other than the module glob, does not follow links in **: two links to "." would be 2^40 paths.
    """
    base = Path(*_fixed_part(pattern))
    wanted = pattern.relative_to(base)
    wanted = wanted / "*" if wanted.name == "**" else wanted
    shows_hidden = any(part.startswith(".") for part in wanted.parts)
    for file in sorted(base.glob(str(wanted))):
        place = file.relative_to(base)
        is_hidden = any(part.startswith(".") for part in place.parts)
        if (shows_hidden or not is_hidden) and not _below(file, real_path(target or base), base):
            yield file, place


def _fixed_part(pattern: Path) -> list[str]:
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if any(sign in part for sign in _MAGIC):
            break
        parts.append(part)
    return parts


def is_readable(path: Path, readable: Collection[str]) -> bool:
    """Test if a path is a file, not hidden, with one of these suffixes."""
    return path.suffix.lower() in readable and not path.name.startswith(".") and path.is_file()


def _below(file: Path, folder: Path, root: Path) -> bool:
    """True for a file in the output folder, which may lie inside the input: results of earlier runs are no input."""
    return folder != real_path(root) and folder in real_path(file).parents


def real_path(path: Path) -> Path:
    """Follow links as far as they lead, loops of them included."""
    return Path(os.path.realpath(path))
