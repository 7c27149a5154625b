"""Restoring images: one at a time, in tiles, and whole folders."""

from rebridge.inference.batch import FileResult, Job, Report, plan, restore_files
from rebridge.inference.noise import ImageNoise
from rebridge.inference.restorer import Restorer, Samples
from rebridge.inference.tiling import TiledDenoiser

__all__ = ["FileResult", "ImageNoise", "Job", "Report", "Restorer", "Samples", "TiledDenoiser", "plan", "restore_files"]
