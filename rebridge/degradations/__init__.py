"""Seeded, batched degradations of clean images, with physical parameters."""

from rebridge.degradations.base import Degradation
from rebridge.degradations.catalogue import create, names, parameters, parse, register, summary

__all__ = ["Degradation", "create", "names", "parameters", "parse", "register", "summary"]
