"""The zero-shot methods by name."""

from __future__ import annotations

import math

from rebridge.catalogue import Catalogue
from rebridge.inverse.methods.base import Method
from rebridge.inverse.methods.daps import DAPS
from rebridge.inverse.methods.ddnm import DDNM
from rebridge.inverse.methods.ddrm import DDRM
from rebridge.inverse.methods.dds import DDS
from rebridge.inverse.methods.deqir import DeqIR
from rebridge.inverse.methods.diffpir import DiffPIR
from rebridge.inverse.methods.dmps import DMPS
from rebridge.inverse.methods.dps import DPS
from rebridge.inverse.methods.nrlg import NoiseRefined
from rebridge.inverse.methods.pigdm import PiGDM
from rebridge.inverse.methods.pnp_flow import PnPFlow
from rebridge.inverse.methods.red_diff import REDDiff
from rebridge.inverse.methods.scd import SCD

SOLVERS: Catalogue[Method] = Catalogue(
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
        "dmps": DMPS,
        "daps": DAPS,
        "pnp-flow": PnPFlow,
    },
    greatest={"steps": 10_000, "sweeps": 10_000, "iterations": 10_000, "memory": 1000, "rank": 4096, "gamma": math.inf},
)


create = SOLVERS.create
names = SOLVERS.names
parameters = SOLVERS.parameters
summary = SOLVERS.summary
parse = SOLVERS.parse
register = SOLVERS.register
