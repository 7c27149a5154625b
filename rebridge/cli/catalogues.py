"""Commands that list what can be combined: bridges, samplers, solvers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rebridge.cli.console import print_json, say, show_table
from rebridge.cli.options import Json, command
from rebridge.commands.options import BridgeListOptions

if TYPE_CHECKING:
    from rebridge.commands.catalogues import Part


@command(BridgeListOptions)
def list_bridges(options: BridgeListOptions, as_json: Json = False) -> None:
    """List the bridges: processes between a clean and a degraded image."""
    from rebridge.commands.catalogues import list_bridges

    parts = list_bridges(options)
    if options.plot is not None:
        say(f"drew {options.plot}")
    if as_json:
        print_json([{**_record(part), "recommended": part.recommended} for part in parts])
    else:
        show_table([_row("bridge", part) | {"recommended": str(part.recommended)} for part in parts])


@command()
def list_samplers(as_json: Json = False) -> None:
    """List the samplers, and which bridges each can sample."""
    from rebridge.commands.catalogues import PRIOR, list_samplers

    parts = list_samplers()
    if as_json:
        print_json([{**_record(part), "bridges": list(part.bridges), "needs": part.needs} for part in parts])
        return
    show_table([_row("sampler", part) for part in parts])
    known = dict.fromkeys(bridge for part in parts for bridge in part.bridges)
    marks = [{part.name: "yes" if bridge in part.bridges else "no" for part in parts} for bridge in known]
    rows = [{"bridge": bridge, **row} for bridge, row in zip(known, marks, strict=True)]
    show_table(rows, "Which sampler walks which bridge (with the default parameters)")
    special = [part.name for part in parts if part.needs == PRIOR]
    say(
        f"{', '.join(special)} work with {PRIOR} (vp, ve, rectified-flow): irbridge along a bridge, the others without one."
    )


@command()
def list_solvers(as_json: Json = False) -> None:
    """List the zero-shot solvers, and the operators that they can invert."""
    from rebridge.commands.catalogues import list_solvers

    found = list_solvers()
    if as_json:
        solvers = [{**_record(part), "calls": part.calls} for part in found.solvers]
        print_json({"solvers": solvers, "operators": [_record(part) for part in found.operators]})
        return
    show_table([_row("solver", part) | {"calls": str(part.calls)} for part in found.solvers])
    show_table([_row("operator", part) for part in found.operators])


def _record(part: "Part") -> dict[str, Any]:
    parameters = dict(part.parameters) if isinstance(part.parameters, Mapping) else list(part.parameters)
    return {"name": part.name, "what": part.what, "parameters": parameters}


def _row(heading: str, part: "Part") -> dict[str, str]:
    known = part.parameters
    shown = [f"{key}={_short(known[key])}" for key in known] if isinstance(known, Mapping) else list(known)
    return {heading: part.name, "what it is": part.what, "parameters": ", ".join(shown)}


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
