"""Cases to evaluate: clean and degraded images, loaded one at a time.

The degradation of an image is a function of the seed, the task and the image's name, so it does not change when other
images join the folder. `rebridge degrade` uses the same rule: evaluating what it wrote gives the same figures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from rebridge import degradations
from rebridge.catalogue import check_name
from rebridge.data import CLEAN, LAYOUTS, ImageFolder, PairedFolder, open_layout
from rebridge.data.seeds import generator_of
from rebridge.data.synthetic import with_drawn
from rebridge.images import quantise
from rebridge.restoration.files import seed_name

PAIR_FOLDERS = (
    ("clean", "degraded"),
    ("gt", "lq"),
    ("GT", "LQ"),
    ("gt", "input"),
    ("target", "input"),
    ("high", "low"),
    ("sharp", "blur"),
)
"""Names of the folders of clean and degraded images that `paired_cases` looks for, in this order."""


@dataclass(frozen=True)
class Case:
    """One image of one task.

    Attributes:
        task: a degradation, or the name of a set of pairs.
        name: of the image.
        load: returns clean and degraded, each (C, H, W), float32 in [0, 1].
        path: of the picture whose name the files of its extra conditions have, where there is one.
        conditions: returns extra conditions by name, as `Restorer` takes them.
        pair: where `load` returns a result in the place of the degraded image: the same with the degraded one, if known.
    """

    task: str
    name: str
    load: Callable[[], tuple[Tensor, Tensor]]
    pair: Callable[[], tuple[Tensor, Tensor]] | None = None
    path: Path | None = None
    conditions: Callable[[], Mapping[str, Any]] = dict


def with_conditions(cases: Sequence[Case], read: Callable[[Path], Mapping[str, Any]]) -> list[Case]:
    """Give cases further extra conditions.

    Args:
        cases: with a path.
        read: called with the path of a case, when it is restored; returns conditions by name.
    """
    return [replace(case, conditions=partial(_told, case, read)) for case in cases]


def _told(case: Case, read: Callable[[Path], Mapping[str, Any]]) -> Mapping[str, Any]:
    if case.path is None:
        raise ValueError(f"{case.name} has no file, so its conditions cannot be found")
    return {**case.conditions(), **read(case.path)}


def synthetic_cases(
    folder: str | Path,
    tasks: Sequence[str],
    seed: int = 0,
    limit: int | None = None,
    channels: int = 3,
    told: Sequence[str] = (),
) -> list[Case]:
    """List every clean image of a folder, degraded by every task to 8 bits.

    Args:
        folder: of clean images.
        tasks: names of `rebridge.degradations`, or "clean" for the undegraded image; sr2, sr4 and sr8 are enlarged back to
            full size.
        seed: of the degradations.
        limit: only so many images.
        channels: of the images.
        told: numbers that are conditions themselves: names of parameters of the tasks, drawn evenly from their ranges.

    Raises:
        ValueError: an empty folder, an unknown task, or one without such a parameter.
    """
    images = _limited(ImageFolder(folder, channels=channels), limit)
    known = [*degradations.names(), CLEAN]
    if not tasks:
        raise ValueError(f"no task: name one or more of {', '.join(known)}")
    for task in tasks:
        check_name("task", task, known)
        for name in told:
            check_name(f"parameter of {task}", name, degradations.parameters(task) if task != CLEAN else ())
    return [
        Case(
            task,
            name := name_of(path, Path(folder)),
            partial(_degraded, images, index, task, seed, name, told),
            path=path,
            conditions=partial(_drawn, task, seed, name, told),
        )
        for task in dict.fromkeys(tasks)
        for index, path in enumerate(images.files)
    ]


def paired_cases(
    folder: str | Path, layout: str | None = None, task: str = "pairs", limit: int | None = None, channels: int = 3
) -> list[Case]:
    """List real pairs.

    Args:
        folder: with subfolders such as clean/ and degraded/, or a standard data set.
        layout: of a standard data set, a name of `rebridge.data.LAYOUTS`.
        task: the name of the pairs in tables; a layout has its own.
        limit: only so many pairs.
        channels: of the images.

    Raises:
        ValueError: no pairs are found, or an image has no partner. That two images of a pair differ in size is found when they
            are loaded.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    if layout is not None:
        pairs = open_layout(layout, root, channels)
        task = LAYOUTS[layout].task
    else:
        found = [names for names in PAIR_FOLDERS if all((root / name).is_dir() for name in names)]
        if not found:
            known = ", ".join("/".join(names) for names in PAIR_FOLDERS)
            raise ValueError(f"{root} holds no pair of folders; looked for {known} (or name a data set's layout)")
        clean, degraded = found[0]
        pairs = PairedFolder(root / clean, root / degraded, check_sizes=False, channels=channels)
    count = len(pairs) if limit is None else min(_positive(limit), len(pairs))
    return [
        Case(task, name_of(pairs[index][1], root), partial(pairs.read, index), path=pairs[index][1])
        for index in range(count)
    ]


def degrade_case(
    images: Tensor, task: str, seed: int, name: str, upsample: bool = False, told: Sequence[str] = ()
) -> Tensor:
    """Degrade an image as `synthetic_cases` does, without rounding.

    Args:
        images: one image (C, H, W) in [0, 1].
        task: a name of `rebridge.degradations`.
        seed: of the degradation.
        name: of the image, as `name_of` gives it.
        upsample: enlarge what sr2, sr4 and sr8 return back to full size.
        told: as of `synthetic_cases`.
    """
    degradation = degradations.create(task)
    if upsample and degradation.resizes:
        degradation = degradations.create(task, upsample=True)
    generator = generator_of(seed, task, name)
    degradation, _ = with_drawn(degradation, told, generator)
    return degradation(images[None].contiguous(), generator=generator)[0]


def name_of(path: Path, folder: Path) -> str:
    """Name an image by its path below a folder; the name seeds its degradation."""
    return seed_name(path.relative_to(folder))


def _drawn(task: str, seed: int, name: str, told: Sequence[str]) -> dict[str, float]:
    """The numbers that `degrade_case` draws, by name."""
    return with_drawn(degradations.create(task), told, generator_of(seed, task, name))[1] if told else {}


def _degraded(
    images: ImageFolder, index: int, task: str, seed: int, name: str, told: Sequence[str]
) -> tuple[Tensor, Tensor]:
    clean = images[index]
    if task == CLEAN:
        return clean, clean
    return clean, quantise(degrade_case(clean, task, seed, name, upsample=True, told=told))


def _limited(images: ImageFolder, limit: int | None) -> ImageFolder:
    return images if limit is None else images.select(range(min(_positive(limit), len(images))))


def _positive(limit: int) -> int:
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    return limit
