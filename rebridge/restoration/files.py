"""Restoration of many image files: plan, work, and one result per file."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rebridge.images import (
    MAX_PIXELS,
    READABLE_SUFFIXES,
    UNREADABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    Image,
    check_folder,
    read_image,
    reason,
    remove_leftovers,
    result_suffix,
    unwritable,
    write_result,
)
from rebridge.images.clips import is_clip
from rebridge.restoration.inputs import files_of, is_readable, real_path
from rebridge.restoration.notes import noted

OTHER_SUFFIXES = (
    *(
        ".pdf",
        ".doc",
        ".docx",
        ".odt",
        ".txt",
        ".md",
        ".htm",
        ".html",
        ".xml",
        ".json",
        ".yaml",
        ".yml",
        ".csv",
        ".zip",
        ".tar",
    ),
    *(".gz", ".7z", ".npy", ".npz", ".safetensors", ".pt", ".pth", ".ckpt", ".py", ".mp3", ".wav", ".flac"),
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg"),
)
"""Suffixes of other files, so that who asks for one does not get a folder of that name."""


@dataclass(frozen=True)
class Job:
    """One file to restore and the file to write.

    Attributes:
        path: the file that is read.
        output: the file that is written.
        problem: why it cannot be done, known before it is tried.
        name: place of the file below its input, without suffix, as `seed_name` gives it.
    """

    path: Path
    output: Path
    problem: str | None = None
    name: str = ""


@dataclass(frozen=True)
class FileResult:
    """The outcome for one file.

    Attributes:
        path: the file that was read.
        output: the file that was written.
        seconds: of work.
        error: None for success, else one sentence.
        skipped: True where the result was there already.
        details: figures about this file, such as calls of the network and further files.
        notes: one sentence for each thing that could not be read or is not kept.
    """

    path: Path
    output: Path
    seconds: float = 0.0
    error: str | None = None
    skipped: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The results of a batch, in the order of the files."""

    results: list[FileResult]

    @property
    def failures(self) -> list[FileResult]:
        """The files that could not be restored."""
        return [result for result in self.results if result.error is not None]

    @property
    def written(self) -> list[FileResult]:
        """The files that were restored in this run."""
        return [result for result in self.results if result.error is None and not result.skipped]

    @property
    def exit_code(self) -> int:
        """0 when every file succeeded or was skipped, else 1."""
        return 1 if self.failures else 0


def restore_files(
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    restorer: Callable[..., Image],
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    recursive: bool = False,
    suffix: str = "",
    format: str | None = None,
    quality: int | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int, int, FileResult], None] | None = None,
    **options: Any,
) -> Report:
    """Restore files, folders and globs; one that fails does not stop the rest.

    Args:
        inputs, output, recursive, suffix, format: see `plan`.
        restorer: a `Restorer`, called with (Image, **options).
        overwrite: replace results that exist; else such a file fails, or with skip_existing counts as skipped.
        skip_existing: leave out files whose result exists.
        quality: of JPEG, WebP, AVIF and JPEG XL; by default 95, or that of the input where it was higher.
        max_pixels: larger images are refused.
        progress: called with (done, total, result) after each file; an exception from it ends the batch.
        options: of the restorer.

    Raises:
        ValueError: before any work, when there is nothing to restore or the output is impossible.
    """
    jobs = plan(inputs, output, recursive=recursive, suffix=suffix, format=format)
    prepare_folders(jobs)
    results = []
    for job in jobs:
        result = run(
            job,
            restorer,
            overwrite=overwrite,
            skip_existing=skip_existing,
            quality=quality,
            max_pixels=max_pixels,
            **options,
        )
        results.append(result)
        if progress is not None:
            progress(len(results), len(jobs), result)
    return Report(results)


def run(
    job: Job,
    restorer: Callable[..., Image],
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    quality: int | None = None,
    max_pixels: int = MAX_PIXELS,
    **options: Any,
) -> FileResult:
    """Restore one image file; options as in `restore_files`.

    An error is in the result, never raised.
    """

    def work(job: Job) -> None:
        image = read_image(job.path, max_pixels)
        write_result(job.output, job.path, image, restorer(image, **options), overwrite, quality)

    return attempt(job, work, overwrite=overwrite, skip_existing=skip_existing)


def attempt(
    job: Job,
    work: Callable[[Job], Mapping[str, Any] | None],
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> FileResult:
    """Do the work of one file, unless its result exists already.

    Args:
        job: the file.
        work: reads, restores and writes it; what it returns are the result's details.
        overwrite: replace a result that exists; else the file fails, or with skip_existing counts as skipped.
        skip_existing: leave out a file whose result exists.

    Returns:
        The outcome; what goes wrong is in it, never raised.
    """
    began = time.perf_counter()
    error = job.problem
    details: Mapping[str, Any] = {}
    if error is None and skip_existing and job.output.exists():
        return FileResult(job.path, job.output, skipped=True)
    if error is None and (problem := blocked(job, overwrite)) is not None:
        error = f"{job.output}: {problem}"
    notes: list[str] = []
    if error is None:
        try:
            with noted(notes):
                details = work(job) or {}
        except Exception as problem:  # one bad file must not end the batch, whatever is wrong with it
            error = reason(problem)
            names = (" ".join(str(path).split()) for path in (job.path, job.output))  # as they stand in a reason
            if not any(name in error for name in names):
                error = f"{job.path}: {error}"
    return FileResult(job.path, job.output, time.perf_counter() - began, error, details=details, notes=tuple(notes))


def blocked(job: Job, overwrite: bool = False) -> str | None:
    """Say why a result cannot be written, before any work is done; None where it can."""
    if job.output.suffix.lower() in WRITABLE_SUFFIXES or not is_clip(job.path):
        return unwritable(job.output, overwrite=overwrite)
    return (
        "exists already and is not overwritten without --overwrite" if job.output.exists() and not overwrite else None
    )


def prepare_folders(jobs: Iterable[Job]) -> None:
    """Make the folders of results, and prove that they can be written.

    What killed runs left in them is removed.

    Raises:
        OSError: a folder that cannot be made or written.
    """
    for folder in dict.fromkeys(job.output.parent for job in jobs if job.problem is None):
        check_folder(folder)
        remove_leftovers(folder)


def left_out(inputs: str | Path | Iterable[str | Path], *, recursive: bool = False) -> list[Path]:
    """List pictures in folders whose formats are not read."""
    entries = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    folders = [path for path in map(Path, entries) if path.is_dir()]
    files = (file for path in folders for file in (path.rglob("*") if recursive else path.iterdir()))
    return sorted(file for file in files if is_readable(file, UNREADABLE_SUFFIXES))


def plan(
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    recursive: bool = False,
    suffix: str = "",
    format: str | None = None,
    default_format: str | None = None,
    readable: Collection[str] = READABLE_SUFFIXES,
    writable: Collection[str] = WRITABLE_SUFFIXES,
    suffix_of: Callable[[Path], str] | None = None,
) -> list[Job]:
    """List the files to restore in order, and where each result goes.

    Two files that would get one result, and results that would replace an input, are problems. Files of folders and globs that
    are results of others, by the suffix, were left by an earlier run, and are no inputs.

    Args:
        inputs: files, folders and globs; in folders and globs only files with a readable suffix count.
        output: a folder, or, for a single file, a file name with an image suffix.
        recursive: search what lies below folders too, and keep the tree.
        suffix: put behind the stem.
        format: suffix of the results such as "png".
        default_format: the same, where the name of a single result does not say otherwise; by default that of the input,
            or png where it cannot be written.
        readable: suffixes of files that can be read.
        writable: suffixes that name a single result.
        suffix_of: the suffix of a file's result, by default that of its own format where it is written, or png.

    Raises:
        ValueError: nothing is found, or the output is impossible.
    """
    entries = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    target = Path(output)
    extension = None if format is None else "." + format.lower().removeprefix(".")
    if extension is not None and extension not in WRITABLE_SUFFIXES:
        raise ValueError(f"unknown image format '{format}'; use one of {', '.join(s[1:] for s in WRITABLE_SUFFIXES)}")
    if Path(suffix).name != suffix and suffix:
        raise ValueError(f"suffix must not contain a path, got '{suffix}'")
    found = find_files(entries, target, recursive=recursive, readable=readable)
    if _is_file_name(target, entries, extension, writable):
        ((path, relative),) = found.items()
        return _checked([Job(path, target, name=seed_name(relative))])
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target} is a file; give a folder for {len(found)} results")
    if extension is None and default_format is not None:
        extension = f".{default_format}"
    jobs = []
    for path, relative in found.items():
        own = result_suffix(relative.suffix) if suffix_of is None else suffix_of(path)
        name = f"{relative.stem}{suffix}{extension or own}"
        place = target / relative.parent / name
        jobs.append(Job(path, place, name=seed_name(relative)))
    return _checked(_without_earlier_results(jobs, entries) if suffix else jobs)


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
        for path, relative in files_of(entry, recursive, target, readable):
            found.setdefault(path, relative)
    if not found:
        names = ", ".join(str(entry) for entry in entries) or "no input"
        raise ValueError(
            f"no images found: {names}" + ("" if recursive else " (folders below are searched with recursive)")
        )
    return found


def seed_name(relative: Path) -> str:
    """Name an image by its path below its input, without suffix."""
    return relative.with_suffix("").as_posix()


def _is_file_name(target: Path, entries: list[str | Path], extension: str | None, writable: Collection[str]) -> bool:
    if target.is_dir():
        return False
    if str(target) == "-":
        raise ValueError("results are written to files: give a file name or a folder instead of -")
    if target.suffix.lower() not in writable:
        if target.suffix.lower() in (*READABLE_SUFFIXES, *UNREADABLE_SUFFIXES, *OTHER_SUFFIXES):
            raise ValueError(f"{target}: {unwritable(target)}")
        return False
    if len(entries) != 1 or not Path(entries[0]).is_file():
        raise ValueError(f"{target} names one file, but the input is not one file; give a folder")
    if extension is not None and extension != target.suffix.lower():
        raise ValueError(f"{target} contradicts the format '{extension[1:]}'")
    if target.suffix.lower() not in WRITABLE_SUFFIXES and not is_clip(Path(entries[0])):
        raise ValueError(f"{target}: {unwritable(target)}")
    return True


def _without_earlier_results(jobs: list[Job], entries: Iterable[str | Path]) -> list[Job]:
    """Leave out files that would be the result of another one, unless they are named themselves."""
    named = {real_path(Path(entry)) for entry in entries}
    results = {real_path(job.output) for job in jobs}
    return [job for job in jobs if (place := real_path(job.path)) in named or place not in results]


def _checked(jobs: list[Job]) -> list[Job]:
    inputs = {real_path(job.path) for job in jobs}
    taken: dict[Path, Path] = {}
    checked = []
    for job in jobs:
        place = real_path(job.output)
        problem = None
        if place in inputs:
            problem = f"{job.path}: the result would replace an input; choose another output or a suffix"
        elif place in taken:
            problem = f"{job.path}: its result would have the same name as that of {taken[place]}"
        taken.setdefault(place, job.path)
        checked.append(replace(job, problem=problem))
    return checked
