"""The catalogue of samplers, by name."""

from __future__ import annotations

from rebridge import bridges
from rebridge.bridges import Bridge
from rebridge.catalogue import Catalogue
from rebridge.samplers.base import Sampler
from rebridge.samplers.dbim import DBIM
from rebridge.samplers.denoise import NoiseRemoval
from rebridge.samplers.exponential import Exponential
from rebridge.samplers.generation import DDIM, SDEdit
from rebridge.samplers.increments import Increments, ResidualPosterior
from rebridge.samplers.irbridge import IRBridge
from rebridge.samplers.multiplicative import Multiplicative
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
        "multiplicative": Multiplicative,
        "irbridge": IRBridge,
        "ddim": DDIM,
        "sdedit": SDEdit,
        "denoise": NoiseRemoval,
    },
    greatest={"steps": 10_000},
)


def recommended(bridge: Bridge | str) -> Sampler:
    """Make the sampler of a bridge's authors, with their steps and time grid.

    It is the default of a trained model.

    Args:
        bridge: the process, or its name for default parameters.

    Returns:
        The sampler that `bridge.recommended` describes or, where a changed modulation rules it out, `dbim`.

    Raises:
        ValueError: an unknown name.
    """
    process = bridges.create(bridge) if isinstance(bridge, str) else bridge
    described = dict(process.recommended)
    sampler = create(described.pop("name"), **described)
    return sampler if sampler.fits(process) else DBIM()


create = SAMPLERS.create
names = SAMPLERS.names
parameters = SAMPLERS.parameters
summary = SAMPLERS.summary
parse = SAMPLERS.parse
register = SAMPLERS.register
