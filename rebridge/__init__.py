"""rebridge restores images with diffusion bridges.

    bridge = rebridge.bridges.create("rdbm")
    sampler = rebridge.samplers.create("dbim", steps=10)
    restore = rebridge.Restorer.from_pretrained("rdbm-tiny")

Names load on first use, so that importing the package costs nothing.
"""

import importlib as _importlib
from typing import TYPE_CHECKING

from rebridge._moved import MOVED as _MOVED

if TYPE_CHECKING:
    import rebridge.commands as commands
    from rebridge import (
        bridges,
        data,
        degradations,
        denoisers,
        evaluation,
        images,
        inverse,
        irbridge,
        models,
        networks,
        restoration,
        samplers,
        training,
    )
    from rebridge.inverse import Measurement
    from rebridge.models import Model
    from rebridge.restoration import Restorer, Samples, solve

__version__ = "0.1.0"

__all__ = [
    "Measurement",
    "Model",
    "Restorer",
    "Samples",
    "bridges",
    "commands",
    "data",
    "degradations",
    "denoisers",
    "evaluation",
    "images",
    "inverse",
    "irbridge",
    "models",
    "networks",
    "restoration",
    "samplers",
    "solve",
    "training",
]

_PLACES = {
    "Measurement": "inverse",
    "Model": "models",
    "Restorer": "restoration",
    "Samples": "restoration",
    "solve": "restoration",
}


if not TYPE_CHECKING:  # type checkers see the imports above, and that there is nothing else

    def __getattr__(name: str) -> object:
        if name in _PLACES:
            return getattr(_importlib.import_module(f"rebridge.{_PLACES[name]}"), name)
        if name in __all__:
            return _importlib.import_module(f"rebridge.{name}")
        if f"rebridge.{name}" in _MOVED:
            return _importlib.import_module(f"rebridge.{name}")
        raise AttributeError(f"module 'rebridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
