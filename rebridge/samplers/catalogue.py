"""The catalogue of samplers, by name."""

from __future__ import annotations

from typing import Any

from rebridge.names import create_of
from rebridge.samplers.base import Sampler
from rebridge.samplers.dbim import DBIM
from rebridge.samplers.exponential import Exponential
from rebridge.samplers.ode import ODE, ODES3
from rebridge.samplers.sde import SDE, HeunChurn, MeanODE

SAMPLERS: dict[str, type[Sampler]] = {
    "dbim": DBIM,
    "ode": ODE,
    "heun-churn": HeunChurn,
    "sde": SDE,
    "mean-ode": MeanODE,
    "odes3": ODES3,
    "exponential": Exponential,
}


def names() -> list[str]:
    """Names of all samplers, in the order of the catalogue."""
    return list(SAMPLERS)


def create(name: str, **params: Any) -> Sampler:
    """Build a sampler by name, such as create("dbim", steps=10, eta=0.0, order=1).

    Raises ValueError for an unknown name or parameter, or a value outside its range.
    """
    return create_of("sampler", SAMPLERS, name, params)
