"""Formats of models on disk: recognised and loaded, one file a format."""

from rebridge.models.formats.base import Format
from rebridge.models.formats.catalogue import FORMATS, detect, format_of, load, names, register

__all__ = ["FORMATS", "Format", "detect", "format_of", "load", "names", "register"]
