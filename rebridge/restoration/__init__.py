"""Restoring: engine, restorer, measurements, files in and out."""

from rebridge.restoration.files import FileResult, Job, Report, plan, restore_files
from rebridge.restoration.restorer import Restorer
from rebridge.restoration.samples import Samples
from rebridge.restoration.solving import solve

__all__ = ["FileResult", "Job", "Report", "Restorer", "Samples", "plan", "restore_files", "solve"]
