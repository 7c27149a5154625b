"""The solvers by name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rebridge.inverse.adapt import SCD
from rebridge.inverse.deqir import DeqIR
from rebridge.inverse.problem import Solver
from rebridge.inverse.variational import REDDiff
from rebridge.inverse.walks import DDNM, DDRM, DDS, DPS, DiffPIR, NoiseRefined, PiGDM

SOLVERS: dict[str, type[Solver]] = {
    "red-diff": REDDiff,
    "deqir": DeqIR,
    "nrlg": NoiseRefined,
    "scd": SCD,
    "ddrm": DDRM,
    "ddnm": DDNM,
    "dds": DDS,
    "dps": DPS,
    "pigdm": PiGDM,
    "diffpir": DiffPIR,
}


def names() -> list[str]:
    """Names of all solvers."""
    return list(SOLVERS)


def create(name: str, **params: Any) -> Solver:
    """The solver of that name, such as create("red-diff", steps=200, weighting="sqrt").

    Raises ValueError for an unknown name or parameter, or a value out of range.
    """
    if name not in SOLVERS:
        raise ValueError(f"unknown solver {name!r}; known are {', '.join(SOLVERS)}")
    known = [field.name for field in fields(SOLVERS[name])]
    for key in params:
        if key not in known:
            raise ValueError(f"solver {name!r} has no parameter {key!r}; it takes {', '.join(known)}")
    return SOLVERS[name](**params)
