"""Lists of parts to combine: bridges, samplers, zero-shot solvers, operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rebridge import bridges, samplers
from rebridge.bridges import Bridge
from rebridge.commands.files import settle
from rebridge.commands.options import BridgeListOptions
from rebridge.samplers import Sampler

PLOTS = (".png", ".svg", ".pdf")
PRIOR = "a generative model"


@dataclass(frozen=True)
class Part:
    """One entry of a catalogue.

    Attributes:
        name: in the catalogue.
        what: the first line of its documentation.
        parameters: with their defaults; of an operator their names alone.
        bridges: of a sampler: what it samples with its default parameters.
        needs: of a sampler: the kind of model that it works with alone, or None for any.
        recommended: of a bridge: its authors' sampler, as texts of the command line have it.
        calls: of a solver: network calls for one image, with its default parameters.
    """

    name: str
    what: str
    parameters: Mapping[str, Any] | Sequence[str]
    bridges: Sequence[str] = ()
    needs: str | None = None
    recommended: str | None = None
    calls: int | None = None


@dataclass(frozen=True)
class SolverList:
    """The zero-shot solvers, and the operators that they invert."""

    solvers: list[Part]
    operators: list[Part]


def list_bridges(options: BridgeListOptions) -> list[Part]:
    """List bridges, and draw forward paths of one pixel if a file is given.

    Raises:
        ValueError: an unknown name, or a file that cannot be drawn.
    """
    if options.plot is not None:
        if Path(options.plot).suffix.lower() not in PLOTS:
            raise ValueError(f"{options.plot}: a plot is drawn as one of {', '.join(PLOTS)}")
        settle([Path(options.plot)], options.overwrite)
    names = [bridges.create(name).name for name in options.names or bridges.names()]
    parts = [
        Part(
            name, bridges.summary(name), bridges.parameters(name), recommended=as_text(bridges.create(name).recommended)
        )
        for name in names
    ]
    if options.plot is not None:
        from rebridge.evaluation.plots import plot_trajectories

        plot_trajectories(names, Path(options.plot))
    return parts


def as_text(described: Mapping[str, Any]) -> str:
    """Write {"name": ..., **parameters} as "name:key=value,key=value"."""
    values = [f"{key}={str(value).lower()}" for key, value in described.items() if key != "name"]
    return ":".join([described["name"], *([",".join(values)] if values else [])])


def list_samplers() -> list[Part]:
    """List samplers, and the processes that each samples with its default parameters.

    Those for generative models are either carried along a restoration bridge (irbridge), or sample the model's own process.
    """
    known = {name: bridges.create(name) for name in bridges.names()}
    model = bridges.create("vp")
    parts = []
    for name in samplers.names():
        sampler = samplers.create(name).for_model(model, model.earliest_time)
        fitting = [key for key, bridge in known.items() if _samples(sampler, bridge)]
        needs = PRIOR if sampler.walks_prior or sampler.evaluates_prior else None
        parts.append(Part(name, samplers.summary(name), samplers.parameters(name), fitting, needs))
    return parts


def list_solvers() -> SolverList:
    """List zero-shot solvers and operators."""
    from rebridge import inverse
    from rebridge.inverse import operators

    solvers = [
        Part(name, inverse.summary(name), inverse.parameters(name), calls=inverse.create(name).calls)
        for name in inverse.names()
    ]
    known = [Part(name, operators.summary(name), operators.parameters(name)) for name in operators.names()]
    return SolverList(solvers, known)


def _samples(sampler: Sampler, bridge: Bridge) -> bool:
    generative = bridge.generative
    if (sampler.walks_prior and not generative) or (sampler.evaluates_prior and generative):
        return False
    return sampler.fits(bridge)
