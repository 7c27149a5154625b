"""Processes between a clean and a degraded image, and their catalogue."""

from rebridge.bridges.base import Bridge, Coefficients
from rebridge.bridges.catalogue import create, names, parameters, parse, register, summary
from rebridge.bridges.checking import check_bridge

__all__ = ["Bridge", "Coefficients", "check_bridge", "create", "names", "parameters", "parse", "register", "summary"]
