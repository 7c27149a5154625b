"""What a process is: coefficients, schedules, and the catalogue of all published bridges."""

from rebridge.bridges.base import Bridge, Coefficients
from rebridge.bridges.catalogue import create, names

__all__ = ["Bridge", "Coefficients", "create", "names"]
