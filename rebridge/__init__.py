"""rebridge restores images with diffusion bridges.

    bridge = rebridge.bridges.create("rdbm")
    sampler = rebridge.samplers.create("dbim", steps=10)
    restore = rebridge.Restorer.from_pretrained("rdbm-tiny")

Submodules load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_SUBMODULES = (
    "bridges", "data", "degradations", "denoisers", "evaluation", "hub", "images", "inference", "inverse", "networks",
    "priors", "samplers", "training",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"rebridge.{name}")
    if name == "Restorer":
        return importlib.import_module("rebridge.inference").Restorer
    raise AttributeError(f"module 'rebridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBMODULES, "Restorer"])
