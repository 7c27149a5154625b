"""Seeded, batched degradations of clean images, with physical parameters."""

from typing import TYPE_CHECKING

from rebridge._lazy import lazily

if TYPE_CHECKING:
    from rebridge.degradations.base import Degradation
    from rebridge.degradations.catalogue import create, names, parameters, parse, register, summary

_PLACES = {
    "base": ("Degradation",),
    "catalogue": ("create", "names", "parameters", "parse", "register", "summary"),
}

if not TYPE_CHECKING:  # type checkers see the imports above
    __getattr__ = lazily(__name__, _PLACES)

__all__ = ["Degradation", "create", "names", "parameters", "parse", "register", "summary"]
