"""Processes between a clean and a degraded image, and their catalogue."""

from rebridge.bridges.base import Bridge
from rebridge.bridges.catalogue import create, names, parameters, parse, register, summary
from rebridge.bridges.checking import check_bridge
from rebridge.bridges.coefficients import Coefficients

__all__ = ["Bridge", "Coefficients", "check_bridge", "create", "names", "parameters", "parse", "register", "summary"]
