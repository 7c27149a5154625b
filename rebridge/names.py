"""What all catalogues have in common: names and parameters, and the sentence for one that is not there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def check_name(kind: str, name: str, known: Collection[str]) -> None:
    """Raises ValueError unless `name` is known; kind: what it names, such as "bridge"."""
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(known) or 'none'}")


def check_parameters(what: str, given: Iterable[str], taken: Collection[str]) -> None:
    """Raises ValueError unless all parameters given to `what`, such as "bridge 'goub'", are among those it takes."""
    for key in given:
        if key not in taken:
            raise ValueError(f"{what} has no parameter {key!r}; it takes {', '.join(taken) or 'none'}")


def create_of(kind: str, catalogue: Mapping[str, type[T]], name: str, params: Mapping[str, Any]) -> T:
    """The dataclass of that name with these parameters; ValueError for an unknown name or parameter."""
    check_name(kind, name, catalogue)
    build: Any = catalogue[name]
    check_parameters(f"{kind} {name!r}", params, [field.name for field in fields(build)])
    result: T = build(**params)
    return result
