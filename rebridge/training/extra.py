"""The packages of the extra `train`, which are imported when a training begins."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rebridge.training.config_files import ConfigError


def needed(module: str) -> Any:
    """Import a module that comes with the extra `train`.

    Raises:
        ConfigError: it is not installed; the sentence says what adds it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        missing = error.name or str(error)
        raise ConfigError(
            f"training needs extra packages ({missing} is missing): pip install 'rebridge[train]'"
        ) from None
