"""Formats of models on disk: how a folder or file is recognised, and how it becomes a `Model`; one file a format."""

from rebridge.models.formats.base import Format
from rebridge.models.formats.catalogue import FORMATS, detect, format_of, load, names, register

__all__ = ["FORMATS", "Format", "detect", "format_of", "load", "names", "register"]
