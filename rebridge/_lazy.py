"""Names of a package that load on first use; a command waits only for its own."""

import importlib
from collections.abc import Callable, Mapping, Sequence


def lazily(package: str, places: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Make the `__getattr__` of a package whose modules load on first use.

    Args:
        package: its full name.
        places: the names that each of its modules defines.
    """
    modules = {name: module for module, names in places.items() for name in names}

    def find(name: str) -> object:
        if name in places:
            return importlib.import_module(f"{package}.{name}")
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return find
