"""Planning and results shared by the commands that turn files into files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rebridge.commands.options import FileOptions
from rebridge.commands.progress import Reporter
from rebridge.images import READABLE_SUFFIXES
from rebridge.restoration.files import FileResult, Job, Report, attempt, plan

Work = Callable[[Job, Reporter], Mapping[str, Any] | None]
"""Reads, restores and writes one file; reports (done, total, note) of this file; returns details of the result."""


@dataclass(frozen=True)
class FilesResult(Report):
    """One result per file, in the order of the files.

    Attributes:
        results: what became of each file.
        done: what was done: model, bridge, sampler, steps, seed and the like.
        note: a sentence that the user should know, or None.
    """

    done: dict[str, Any] = field(default_factory=dict)
    note: str | None = None

    @property
    def skipped(self) -> list[FileResult]:
        """The files that were left out, as their result existed."""
        return [result for result in self.results if result.skipped]


def planned(
    options: FileOptions, default_format: str | None = None, readable: Collection[str] = READABLE_SUFFIXES
) -> list[Job]:
    """List the files that the options mean; see `rebridge.restoration.plan`.

    Raises:
        ValueError: an input that is neither there nor a pattern, nothing found, or an impossible output.
    """
    for entry in options.inputs:
        if not Path(entry).exists() and not any(sign in str(entry) for sign in "*?["):
            raise ValueError(f"{entry}: no such file or folder")
    return plan(
        options.inputs,
        options.output,
        recursive=options.recursive,
        suffix=options.suffix,
        format=options.format,
        default_format=default_format,
        readable=readable,
    )


def process(jobs: list[Job], work: Work, options: FileOptions, report: Reporter) -> list[FileResult]:
    """Do the work of every file; one that fails does not stop the others.

    Args:
        jobs: as from `planned`.
        work: of one file.
        options: what to do with results that exist.
        report: called with the files that are done, in fractions of a file, out of all.
    """
    results: list[FileResult] = []
    for job in jobs:

        def within(done: float, total: float, note: str = "", job: Job = job) -> None:
            report(len(results) + min(done / total, 1.0), len(jobs), note or job.path.name)

        def worked(job: Job, within: Reporter = within) -> Mapping[str, Any] | None:
            return work(job, within)

        report(len(results), len(jobs), job.path.name)
        results.append(attempt(job, worked, overwrite=options.overwrite, skip_existing=options.skip_existing))
    report(len(jobs), len(jobs), "")
    return results
