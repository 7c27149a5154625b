"""What all catalogues have in common: names and parameters, and the sentence for one that is not there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")

TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "str": ((str,), "a word"),
    "Tensor": ((), "a tensor"),
    "None": ((), ""),
}
"""Types of parameters: what values may be, and how that is said."""


def check_name(kind: str, name: str, known: Collection[str]) -> None:
    """Raises ValueError unless `name` is known; kind: what it names, such as "bridge"."""
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(known) or 'none'}")


def check_parameters(what: str, given: Iterable[str], taken: Collection[str]) -> None:
    """Raises ValueError unless all parameters given to `what`, such as "bridge 'goub'", are among those it takes."""
    for key in given:
        if key not in taken:
            raise ValueError(f"{what} has no parameter {key!r}; it takes {', '.join(taken) or 'none'}")


def check_values(what: str, params: Mapping[str, Any], types: Mapping[str, str]) -> None:
    """Raises ValueError for a value that is not of its parameter's type, as the source writes it, if `TYPES` has all of that."""
    for key, value in params.items():
        written = types.get(key, "").split(" | ")
        known = [TYPES[part] for part in written if part in TYPES]
        if len(known) < len(written) or (value is None and "None" in written):
            continue
        allowed = tuple(kind for kinds, _ in known for kind in kinds)
        if type(value) not in allowed and type(value).__name__ not in written:
            names = " or ".join(name for _, name in known if name)
            raise ValueError(f"{what} takes {names} as {key}, got {value!r}")


def create_of(kind: str, catalogue: Mapping[str, type[T]], name: str, params: Mapping[str, Any]) -> T:
    """The dataclass of that name with these parameters; ValueError for an unknown name or parameter."""
    check_name(kind, name, catalogue)
    build: Any = catalogue[name]
    types = {field.name: str(field.type) for field in fields(build)}
    check_parameters(f"{kind} {name!r}", params, types)
    check_values(f"{kind} {name!r}", params, types)
    result: T = build(**params)
    return result
