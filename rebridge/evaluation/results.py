"""Results of any tool in a folder, beside the images that they should be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from rebridge.data import ImageFolder
from rebridge.data.folders import as_float, image_files, read_stored
from rebridge.evaluation.cases import Case


def result_cases(
    results: str | Path, truth: str | Path | Sequence[Case], suffix: str = "", limit: int | None = None
) -> tuple[list[Case], int]:
    """List results made elsewhere, beside their true images.

    A result belongs to the true image of its path below the folder, or else of its name, whatever the file's type. Behind the
    name may stand the suffix, or, where none is given, anything that does not go on with a letter or a digit: `boat_out.png`
    or `boat.x2.jpg` for `boat.png`; the longest name that fits wins. A folder inside `results` is a task of its own. Part of
    the true images is enough.

    Args:
        results: folder of the results.
        truth: folder of the true images, or pairs of true and degraded images, see `paired_cases`.
        suffix: text behind the name of each result, such as "_restored".
        limit: only so many results of each task.

    Returns:
        The cases, with the result in the place of the degraded image, and the number of true images without a result.

    Raises:
        ValueError: a result that belongs to no true image, or to several; two results of one.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    root = Path(results)
    true = {str(Path(case.name).with_suffix("")): case for case in _true_cases(truth)}
    taken: dict[tuple[str, str], Path] = {}
    cases: list[Case] = []
    counts: dict[str, int] = {}
    for path in image_files(root):
        place = path.relative_to(root).with_suffix("")
        if not place.name.endswith(suffix):
            raise ValueError(f"{path} does not end in {suffix!r}")
        wanted = place.with_name(place.name[: len(place.name) - len(suffix)])
        found = _true_names(wanted.as_posix(), list(true), loose=not suffix)
        if len(found) != 1:
            what = "no true image" if not found else "more than one true image"
            raise ValueError(f"{path} has {what} of that name{_below(truth)}: {wanted.name}.*")
        task = place.parent.as_posix() if place.parent.name else "results"
        if (task, found[0]) in taken:
            raise ValueError(f"{taken[task, found[0]]} and {path} are both results of {true[found[0]].name}")
        taken[task, found[0]] = path
        counts[task] = counts.get(task, 0) + 1
        if limit is None or counts[task] <= limit:
            case = true[found[0]]
            known = None if isinstance(truth, str | Path) else case.load
            name = wanted.as_posix() if suffix else place.with_name(Path(found[0]).name).as_posix()
            cases.append(Case(task, name, partial(_both, case, path), known))
    return cases, len(true) - len({name for _, name in taken})


def _true_cases(truth: str | Path | Sequence[Case]) -> Sequence[Case]:
    """True images by name, those of a folder with themselves in the place of the degraded ones."""
    if not isinstance(truth, str | Path):
        return truth
    images = ImageFolder(truth)
    return [
        Case("", path.relative_to(truth).as_posix(), partial(_twice, images, index))
        for index, path in enumerate(images.files)
    ]


def _twice(images: ImageFolder, index: int) -> tuple[Tensor, Tensor]:
    return images[index], images[index]


def _both(case: Case, path: Path) -> tuple[Tensor, Tensor]:
    clean = case.load()[0]
    return clean, as_float(read_stored(path, clean.shape[0]))


def _true_names(wanted: str, names: Sequence[str], loose: bool) -> list[str]:
    """The names that a result belongs to: by path before by name, exactly before with something behind."""
    last = wanted.rpartition("/")[2]
    for fits in (_is, _begins) if loose else (_is,):
        found = [name for name in names if fits(wanted, name)]
        found = found or [name for name in names if fits(last, name.rpartition("/")[2])]
        if found:
            longest = max(len(name.rpartition("/")[2]) for name in found)
            return [name for name in found if len(name.rpartition("/")[2]) == longest]
    return []


def _is(own: str, name: str) -> bool:
    return own == name


def _begins(own: str, name: str) -> bool:
    """True for the name with more behind it that does not go on with a letter or a digit."""
    return re.match(re.escape(name) + r"[^0-9A-Za-z/]", own) is not None


def _below(truth: str | Path | Sequence[Case]) -> str:
    return f" below {truth}" if isinstance(truth, str | Path) else " among the pairs"
