"""Files to be looked at, beside the results of `restore` and `enlarge`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from rebridge.commands.files import FilesResult
from rebridge.commands.shared_options import FileOptions, ShowOptions
from rebridge.commands.views import SheetRow, thumbnail, view_files, write_sheet, write_views
from rebridge.images import Image, check_folder, unwritable, write_image
from rebridge.restoration.files import FileResult, Job, blocked

WHITE = 32 / 255
"""Standard deviation that is white in a map of the samples' deviation."""


def spread_file(output: Path) -> Path:
    """Name the map of the samples' deviation beside a result."""
    return output.with_name(output.stem + "_std.png")


class Viewer:
    """Writes comparisons as pictures come, and at the end the contact sheet.

    Args:
        show: what is wanted.
        files: whether files that exist may be replaced.
        spread: whether a map of the samples' deviation is wanted too.

    Raises:
        ValueError: a contact sheet that cannot be written.
    """

    def __init__(self, show: ShowOptions, files: FileOptions, spread: bool = False) -> None:
        self._show = show
        self._spread = spread
        self._overwrite = files.overwrite
        self._rows: dict[Path, SheetRow] = {}
        self._order: list[Path] = []
        sheet = show.contact_sheet
        if sheet is not None and (problem := unwritable(sheet, overwrite=files.overwrite)) is not None:
            raise ValueError(f"{sheet}: {problem}")

    def planned(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs, with the problem that a file beside a result exists already."""
        self._order = [job.output for job in jobs]
        if self._overwrite or not (self._show.before_after or self._spread):
            return list(jobs)
        found = []
        for job in jobs:
            taken = next((path for path in self._beside(job.output) if path.exists()), None)
            if job.problem is None and taken is not None and not job.output.exists():
                job = replace(job, problem=f"{taken}: exists already and is not overwritten without --overwrite")
            found.append(job)
        return found

    def add(self, job: Job, before: Image, after: Image, std: Tensor | None = None) -> list[Path]:
        """Take in a picture and its result; returns the files that were written.

        std: of several samples, (1, C, H, W) in units of [0, 1].
        """
        if self._show.contact_sheet is not None:
            self._rows[job.output] = SheetRow(job.path.name, thumbnail(before), thumbnail(after))
        written = write_views(job.output, before, after, self._overwrite) if self._show.before_after else []
        if self._spread and std is not None:
            written.append(spread_file(job.output))
            write_image(written[-1], Image((std[0].mean(0, keepdim=True) / WHITE).clamp(0, 1)), self._overwrite)
        return written

    def _beside(self, output: Path) -> list[Path]:
        """List the files that are written beside a result."""
        return [
            *(view_files(output) if self._show.before_after else ()),
            *([spread_file(output)] if self._spread else ()),
        ]

    def finish(self) -> list[Path]:
        """Write the contact sheet; returns the files that were written."""
        sheet = self._show.contact_sheet
        if sheet is None or not self._rows:
            return []
        check_folder(sheet.parent)
        rows = [self._rows[place] for place in self._order if place in self._rows]
        write_sheet(sheet, rows, self._overwrite)
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
