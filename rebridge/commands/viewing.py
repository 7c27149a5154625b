"""Files to be looked at, beside the results of `restore` and `enlarge`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rebridge.commands.files import FilesResult
from rebridge.commands.shared_options import FileOptions, ShowOptions
from rebridge.commands.views import SheetRow, thumbnail, view_files, write_sheet, write_views
from rebridge.images import Image, check_folder, unwritable
from rebridge.restoration.files import FileResult, Job, blocked


class Viewer:
    """Writes comparisons as pictures come, and at the end the contact sheet.

    Args:
        show: what is wanted.
        files: whether files that exist may be replaced.

    Raises:
        ValueError: a contact sheet that cannot be written.
    """

    def __init__(self, show: ShowOptions, files: FileOptions) -> None:
        self._show = show
        self._overwrite = files.overwrite
        self._rows: list[SheetRow] = []
        sheet = show.contact_sheet
        if sheet is not None and (problem := unwritable(sheet, overwrite=files.overwrite)) is not None:
            raise ValueError(f"{sheet}: {problem}")

    def planned(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs, with the problem that a file beside a result exists already."""
        if self._overwrite or not self._show.before_after:
            return list(jobs)
        found = []
        for job in jobs:
            taken = next((path for path in view_files(job.output) if path.exists()), None)
            if job.problem is None and taken is not None and not job.output.exists():
                job = replace(job, problem=f"{taken}: exists already and is not overwritten without --overwrite")
            found.append(job)
        return found

    def add(self, job: Job, before: Image, after: Image) -> list[Path]:
        """Take in a picture and its result; returns the files that were written."""
        if self._show.contact_sheet is not None:
            self._rows.append(SheetRow(job.path.name, thumbnail(before), thumbnail(after)))
        return write_views(job.output, before, after, self._overwrite) if self._show.before_after else []

    def finish(self) -> list[Path]:
        """Write the contact sheet; returns the files that were written."""
        sheet = self._show.contact_sheet
        if sheet is None or not self._rows:
            return []
        check_folder(sheet.parent)
        write_sheet(sheet, self._rows, self._overwrite)
        return [sheet]


def dry(jobs: Sequence[Job], options: FileOptions) -> list[FileResult]:
    """Say what would become of each file, and do nothing."""
    results = []
    for job in jobs:
        exists = options.skip_existing and job.output.exists()
        problem = None if exists else blocked(job, options.overwrite)
        error = job.problem or (problem and f"{job.output}: {problem}")
        results.append(FileResult(job.path, job.output, error=error, skipped=exists, details={"planned": True}))
    return results


def to_open(result: FilesResult) -> Path | None:
    """Choose a file to show: the sheet, a comparison, the result or its folder."""
    pages = [path for row in result.written for path in row.details.get("views", ())]
    places = [row.output for row in result.written if row.output.exists()]
    if not places:
        return None
    return (result.files or pages[:1] or (places if len(places) == 1 else [places[0].parent]))[0]
