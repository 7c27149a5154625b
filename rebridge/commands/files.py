"""Planning and results shared by the commands that turn files into files."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rebridge.commands.lanes import Lanes, run_overlapped
from rebridge.commands.options import FileOptions
from rebridge.commands.progress import Reporter
from rebridge.commands.stopping import Stopped
from rebridge.commands.words import counted
from rebridge.images import READABLE_SUFFIXES, WRITABLE_SUFFIXES, check_folder, remove_leftovers
from rebridge.images.addresses import as_written
from rebridge.restoration.files import FileResult, Job, Report, attempt, plan, prepare_folders

Work = Callable[[Job, Reporter], Mapping[str, Any] | None]
"""Reads, restores and writes one file; reports (done, total, note) of this file; returns details of the result."""
Finished = Callable[[FileResult], object]
"""Called with each file once it is done."""

LONGEST_NAME = 255
"""Bytes of a file's name."""
UNSURE = "the model is not sure of anything to restore (--task says what to remove)"
SAME_SAMPLES = "all samples are the same: this sampler draws no noise; --sampler dbim:eta=1 with several steps does"


@dataclass(frozen=True)
class FilesResult(Report):
    """One result per file, in the order of the files.

    Attributes:
        results: what became of each file.
        done: what was done: model, bridge, sampler, steps, seed and the like.
        note: a sentence that the user should know, or None.
        left_out: pictures in the folders whose formats are not read.
        files: that were written for all pictures together.
    """

    done: dict[str, Any] = field(default_factory=dict)
    note: str | None = None
    left_out: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @property
    def skipped(self) -> list[FileResult]:
        """The files that were left out, as their result existed."""
        return [result for result in self.results if result.skipped]

    def records(self) -> list[dict[str, Any]]:
        """Describe each file in plain data, as JSON takes it."""
        return [_record(result) for result in self.results]

    def summary(self, done: str) -> str:
        """Say how many files were `done`, where they are and how long it took."""
        written, skipped = self.written, len(self.skipped)
        places = {row.output.parent for row in written}
        where = f" in {as_written(places.pop())}" if len(places) == 1 else ""
        seconds = self.done.get("seconds") or sum(row.seconds for row in written)
        text = f"{done} {counted(len(written))}{where}" + (f", {seconds:.1f} s" if seconds else "")
        if "busy" in self.done and written:
            text += f" ({self.done['jobs']} at once, the network busy for {self.done['busy']:.0%} of it)"
        text = text if written else f"{done} no file"
        return text + (f"; {counted(skipped)} skipped, as the result exists" if skipped else "")

    def notes(self) -> list[str]:
        """Say what the user should know of the run and its files."""
        found = [self.note] if self.note else []
        found += [sentence for result in self.results for sentence in result.notes]
        unsure = [result.path for result in self.written if result.details.get("unsure")]
        if unsure:
            many = f"{len(unsure)} files: left as they are"
            found.append(f"{f'{unsure[0]}: left as it is' if len(unsure) == 1 else many}: {UNSURE}")
        if any(result.details.get("identical") for result in self.written):
            found.append(SAME_SAMPLES)
        if self.left_out:
            names = ", ".join(path.name for path in self.left_out)
            found.append(f"left out, as these formats are not read: {names}")
        return found

    def totals(self) -> dict[str, Any]:
        """Sum up the figures of all measurements that `solve` wrote.

        Returns:
            All files; the most calls for one image; seconds; the mean PSNR and the largest standard deviation, None where no
            file has one.
        """
        rows = [result.details for result in self.written]
        known = [row["psnr"] for row in rows if row["psnr"] is not None]
        return {
            "files": [str(path) for row in rows for path in row["files"]],
            "calls": max((row["calls"] for row in rows), default=0),
            "seconds": round(sum(row["seconds"] for row in rows), 3),
            "psnr": sum(known) / len(known) if known else None,
            "largest_std": max((row["largest_std"] for row in rows), default=None),
        }


def settle(files: Sequence[Path], overwrite: bool) -> None:
    """Prove before any work that files can be written.

    Raises:
        ValueError: one exists and is not to be replaced, or is a folder, or has an impossible name.
        OSError: a folder that cannot be made or written.
    """
    for file in files:
        if len(os.fsencode(file.name)) > LONGEST_NAME:
            raise ValueError(f"{file}: the file name has {len(os.fsencode(file.name))} bytes, and 255 are possible")
        if file.is_dir():
            raise ValueError(f"{file} is a folder, not a file")
        if os.path.lexists(file) and not overwrite:
            raise ValueError(f"{file}: exists already and is not overwritten without --overwrite")
    for folder in dict.fromkeys(file.parent for file in files):
        check_folder(folder)
        remove_leftovers(folder)


def sentence(result: FileResult) -> str:
    """Say in one line what was found, done and changed, and where it lies."""
    if result.error is not None:
        return result.error
    details = result.details
    if result.skipped:
        return f"{as_written(result.path)}: skipped, as {as_written(result.output)} exists"
    if details.get("planned"):
        return f"{result.path}: would be written to {result.output}"
    parts = [str(details[key]) for key in ("found_words", "done_words", "changed_words") if details.get(key)]
    return f"{as_written(result.path)}: {'; '.join(parts)}; wrote {as_written(result.output)}, {result.seconds:.1f} s"


def planned(
    options: FileOptions,
    default_format: str | None = None,
    readable: Collection[str] = READABLE_SUFFIXES,
    suffix_of: Callable[[Path], str] | None = None,
    more: tuple[Collection[str], Collection[str]] = ((), ()),
) -> list[Job]:
    """List the files that the options mean; see `rebridge.restoration.plan`.

    Args:
        options: files to read, and where results go.
        default_format, readable, suffix_of: see `rebridge.restoration.plan`.
        more: further suffixes that are read, and that name a single result.

    Raises:
        ValueError: an input that is neither there nor a pattern, nothing found, or an impossible output.
    """
    check_there(options.inputs)
    return plan(
        options.inputs,
        options.output,
        recursive=options.recursive,
        suffix=options.suffix,
        format=options.format,
        default_format=default_format,
        readable=(*readable, *more[0]),
        writable=(*WRITABLE_SUFFIXES, *more[1]),
        suffix_of=suffix_of,
    )


def check_there(inputs: Iterable[str | Path]) -> None:
    """Raise ValueError for an input that is neither there nor a pattern."""
    for entry in inputs:
        if not Path(entry).exists() and not any(sign in str(entry) for sign in "*?["):
            raise ValueError(f"{entry}: no such file or folder")


def process(
    jobs: list[Job],
    work: Work,
    options: FileOptions,
    report: Reporter,
    finished: Finished | None = None,
    lanes: Lanes | None = None,
) -> list[FileResult]:
    """Do the work of every file; one that fails does not stop the others.

    Args:
        jobs: as from `planned`.
        work: of one file.
        options: what to do with results that exist.
        report: called with the files that are done, in fractions of a file, out of all.
        finished: called with the result of each file, in the order of the files.
        lanes: what `work` enters where it needs the network, for several files on their way at once.

    Raises:
        Stopped: the user interrupts, with the files that were done.
    """
    prepare_folders(jobs)
    results: list[FileResult] = []
    try:
        if lanes is not None and lanes.overlapping:
            run_overlapped(jobs, _whole(work, options), lanes, report, finished, results)
        else:
            with lanes.alone() if lanes is not None and len(jobs) > 1 else nullcontext():
                _process(jobs, work, options, report, finished, results)
    except KeyboardInterrupt as interrupt:
        raise Stopped(FilesResult(results), len(jobs), interrupt) from interrupt
    return results


def _whole(work: Work, options: FileOptions) -> Callable[[Job, Reporter], FileResult]:
    """All that becomes of one file, as a result."""

    def do(job: Job, report: Reporter) -> FileResult:
        def worked(job: Job) -> Mapping[str, Any] | None:
            return work(job, report)

        return attempt(job, worked, overwrite=options.overwrite, skip_existing=options.skip_existing)

    return do


def _process(
    jobs: list[Job],
    work: Work,
    options: FileOptions,
    report: Reporter,
    finished: Finished | None,
    results: list[FileResult],
) -> None:
    """Append one result per file."""
    do = _whole(work, options)
    for job in jobs:

        def within(done: float, total: float, note: str = "", job: Job = job) -> None:
            report(len(results) + min(done / total, 1.0), len(jobs), note or job.path.name)

        report(len(results), len(jobs), job.path.name)
        results.append(do(job, within))
        if finished is not None:
            finished(results[-1])
    report(len(jobs), len(jobs), "")


def _record(result: FileResult) -> dict[str, Any]:
    internal = ("seconds", "identical", "unsure", "found_words", "done_words", "changed_words")
    details = {key: value for key, value in result.details.items() if key not in internal}
    for key in ("files", "views"):
        if key in details:
            details[key] = [str(path) for path in details[key]]
    return {
        "input": as_written(result.path),
        "output": None if result.error else as_written(result.output),
        "seconds": round(result.seconds, 3),
        "skipped": result.skipped,
        "error": result.error,
        "sentence": sentence(result),
        "notes": list(result.notes),
        **details,
    }
