"""Packages of the extra `formats`, imported when a file needs them."""

import importlib
from typing import Any


def imagecodecs(what: str) -> Any:
    """Import imagecodecs (JPEG XL, AVIF, JPEG 2000, rare TIFF compressions)."""
    return _imported("imagecodecs", what)


def pillow_heif(what: str) -> Any:
    """Import pillow_heif (HEIC)."""
    return _imported("pillow_heif", what)


def rawpy(what: str) -> Any:
    """Import rawpy (camera raw)."""
    return _imported("rawpy", what)


def has(name: str) -> bool:
    """Tell whether a package can be imported."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _imported(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(f"{what} needs the package {name}: pip install 'rebridge[formats]'") from None
