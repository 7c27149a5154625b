"""The catalogue of samplers, by name."""

from __future__ import annotations

from rebridge.catalogue import Catalogue
from rebridge.samplers.base import Sampler
from rebridge.samplers.dbim import DBIM
from rebridge.samplers.denoise import NoiseRemoval
from rebridge.samplers.exponential import Exponential
from rebridge.samplers.generation import DDIM, SDEdit
from rebridge.samplers.increments import Increments, ResidualPosterior
from rebridge.samplers.irbridge import IRBridge
from rebridge.samplers.ode import ODE, ODES3
from rebridge.samplers.resample import Resample
from rebridge.samplers.sde import SDE, HeunChurn, MeanODE

SAMPLERS: Catalogue[Sampler] = Catalogue(
    "sampler",
    {
        "dbim": DBIM,
        "ode": ODE,
        "heun-churn": HeunChurn,
        "sde": SDE,
        "mean-ode": MeanODE,
        "odes3": ODES3,
        "exponential": Exponential,
        "increments": Increments,
        "residual-posterior": ResidualPosterior,
        "resample": Resample,
        "irbridge": IRBridge,
        "ddim": DDIM,
        "sdedit": SDEdit,
        "denoise": NoiseRemoval,
    },
    greatest={"steps": 10_000},
)


create = SAMPLERS.create
names = SAMPLERS.names
parameters = SAMPLERS.parameters
summary = SAMPLERS.summary
parse = SAMPLERS.parse
register = SAMPLERS.register
