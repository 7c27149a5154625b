"""Beginnings and ends of commands, in as little time as there can be."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import sys


def load_command(name: str) -> None:
    """Import the module of a command, once, where it has one of its own.

    All that is imported stays. So nothing is searched for garbage meanwhile, which would take a tenth of the time of a short
    command, nor among that later on, nor at the end, which would take a third.

    Args:
        name: of the command, as `rebridge.commands` has it.
    """
    atexit.register(gc.freeze)
    module = f"{__package__}.{name}"
    if module in sys.modules or importlib.util.find_spec(module) is None:
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(module)
    finally:
        if was_enabled:
            gc.enable()
    gc.freeze()
