"""Commands that list what can be combined: bridges, samplers."""

import inspect
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from rebridge.cli.console import out, print_json, say
from rebridge.cli.files import Json


def list_bridges(
    names: Annotated[list[str] | None, typer.Argument(help="Only these.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw forward paths of one pixel into this PNG.")] = None,
    as_json: Json = False,
) -> None:
    """List the bridges: processes between a clean and a degraded image, with their parameters."""
    from rebridge import bridges
    from rebridge.bridges.catalogue import BRIDGES
    from rebridge.evaluation.tables import Column, table

    rows = [
        {"name": name, "what": first_sentence(BRIDGES[name]), "parameters": parameters_of(BRIDGES[name], as_json)}
        for name in (bridges.create(name).name for name in names or bridges.names())
    ]
    if plot is not None:
        from rebridge.evaluation.plots import plot_trajectories

        say(f"drew {plot_trajectories([row['name'] for row in rows], plot)}")
    if as_json:
        print_json(rows)
        return
    columns = [Column("name", "bridge"), Column("what", "what it is"), Column("parameters", "parameters")]
    out().print(table(rows, columns))


def list_samplers(as_json: Json = False) -> None:
    """List the samplers: ways to walk a bridge, and which bridges each can walk."""
    from rebridge import bridges, samplers
    from rebridge.evaluation.tables import Column, table
    from rebridge.samplers.catalogue import SAMPLERS

    names = samplers.names()
    kinds = {name: bridges.create(name) for name in bridges.names()}
    works = {name: {key: SAMPLERS[name]().fits(bridge) for key, bridge in kinds.items()} for name in names}
    rows = [
        {
            "name": name,
            "what": first_sentence(SAMPLERS[name]),
            "parameters": parameters_of(SAMPLERS[name], as_json),
            "bridges": [key for key, fits in works[name].items() if fits],
        }
        for name in names
    ]
    if as_json:
        print_json(rows)
        return
    columns = [Column("name", "sampler"), Column("what", "what it is"), Column("parameters", "parameters")]
    out().print(table(rows, columns))
    grid = [{"bridge": key, **{name: works[name][key] for name in names}} for key in kinds]
    title = "Which sampler walks which bridge (with the default parameters)"
    out().print(table(grid, [Column("bridge", "bridge"), *(Column(name, name) for name in names)], title))


def first_sentence(kind: type) -> str:
    """The first line of a class's documentation."""
    return (inspect.getdoc(kind) or "").split("\n\n")[0].split("\n")[0]


def parameters_of(kind: Any, as_json: bool) -> Any:
    """The fields of a dataclass with their defaults: a dictionary for JSON, or text."""
    values = {field.name: _default(field) for field in fields(kind)}
    return values if as_json else ", ".join(f"{key}={_short(value)}" for key, value in values.items())


def _default(field: Field[Any]) -> Any:
    return None if field.default is MISSING else field.default


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
