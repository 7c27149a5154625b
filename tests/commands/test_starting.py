"""A command's modules are imported without a search for garbage, which goes on afterwards."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, sys
from rebridge.commands.starting import load_command
runs = []
gc.callbacks.append(lambda phase, info: runs.append(phase))
load_command({name!r})
print(len(runs), gc.isenabled(), gc.get_freeze_count() > 100_000, "torch" in sys.modules, {module!r} in sys.modules)
"""


def told(name: str) -> list[str]:
    program = PROGRAM.format(name=name, module=f"rebridge.commands.{name}")
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_a_command_is_imported_with_torch_without_a_search_for_garbage() -> None:
    assert told("restore") == ["0", "True", "True", "True", "True"]


def test_a_command_without_a_module_of_its_own_imports_nothing() -> None:
    assert told("list_bridges")[1:] == ["True", "False", "False", "False"]
