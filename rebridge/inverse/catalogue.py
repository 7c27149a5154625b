"""The solvers by name."""

from __future__ import annotations

from typing import Any

from rebridge.inverse.adapt import SCD
from rebridge.inverse.deqir import DeqIR
from rebridge.inverse.problem import Solver
from rebridge.inverse.variational import REDDiff
from rebridge.inverse.walks import DDNM, DDRM, DDS, DPS, DiffPIR, NoiseRefined, PiGDM
from rebridge.names import create_of

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
    return create_of("solver", SOLVERS, name, params)
