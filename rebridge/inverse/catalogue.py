"""The solvers by name."""

from __future__ import annotations

from rebridge.catalogue import Catalogue
from rebridge.inverse.adapt import SCD
from rebridge.inverse.deqir import DeqIR
from rebridge.inverse.problem import Solver
from rebridge.inverse.variational import REDDiff
from rebridge.inverse.walks import DDNM, DDRM, DDS, DPS, DiffPIR, NoiseRefined, PiGDM

SOLVERS: Catalogue[Solver] = Catalogue(
    "solver",
    {
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
    },
)


create = SOLVERS.create
names = SOLVERS.names
parameters = SOLVERS.parameters
summary = SOLVERS.summary
parse = SOLVERS.parse
register = SOLVERS.register
