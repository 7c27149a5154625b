"""Restoring: engine, restorer, measurements, files in and out."""

from typing import TYPE_CHECKING

from rebridge._lazy import lazily

if TYPE_CHECKING:
    from rebridge.restoration.files import FileResult, Job, Report, plan, restore_files
    from rebridge.restoration.restorer import Restorer
    from rebridge.restoration.samples import Samples
    from rebridge.restoration.solving import solve

_PLACES = {
    "files": ("FileResult", "Job", "Report", "plan", "restore_files"),
    "restorer": ("Restorer",),
    "samples": ("Samples",),
    "solving": ("solve",),
}

if not TYPE_CHECKING:  # type checkers see the imports above
    __getattr__ = lazily(__name__, _PLACES)

__all__ = ["FileResult", "Job", "Report", "Restorer", "Samples", "plan", "restore_files", "solve"]
