"""Processes between a clean and a degraded image, and their catalogue."""

from rebridge.bridges.base import Bridge, Coefficients
from rebridge.bridges.catalogue import create, names, parameters, parse, register, summary

__all__ = ["Bridge", "Coefficients", "create", "names", "parameters", "parse", "register", "summary"]
