"""Options as they are written on the command line.

Each one fills a field of `rebridge.commands.options`. `command` makes a command out of an options dataclass, which has the
defaults, and a function that shows the result. How each field is written stands in `rebridge.commands.flags`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from rebridge.catalogue import load_extension
from rebridge.commands.defaults import read_defaults
from rebridge.commands.flags import CHANGED, OPTIONS, Flag
from rebridge.commands.starting import load_command

Show = Callable[..., None]


def load_extensions(sources: list[str] | None) -> None:
    """Import Python files or modules that register parts of their own."""
    for source in sources or ():
        load_extension(source)


def _take_defaults(context: typer.Context, path: Path | None) -> Path | None:
    """Let a file say the defaults of the options that follow."""
    if path is not None and not context.resilient_parsing:
        spelled = {word: part.name for part in context.command.params for word in part.opts if part.name}
        context.default_map = read_defaults(path, context.command.name or "", spelled)
    return path


Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
Extensions = Annotated[
    list[str] | None,
    typer.Option(
        "--import", metavar="FILE", help="Python file or module that registers bridges, ... of your own; repeat it."
    ),
]
Defaults = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", envvar="REBRIDGE_CONFIG", is_eager=True, callback=_take_defaults,
        help="YAML file with defaults of the options, as strength: 0.8; also by command, as restore: {format: png}.",
    ),
]  # fmt: skip


def command(options: type[Any] | None = None) -> Callable[[Show], Show]:
    """Turn show(options, ...) into a function that Typer reads as a command.

    Args:
        options: a dataclass; each field becomes a parameter with the field's default. None for show(...) without options.
    """
    known = {} if options is None else {field.name: field for field in fields(options)}
    flags = OPTIONS | CHANGED.get(options.__name__ if options else "", {})
    taken: dict[str, Flag] = {name: flags[name] for name in known}

    def decorate(show: Show) -> Show:
        own = list(inspect.signature(show, eval_str=True).parameters.values())[0 if options is None else 1 :]

        def run(**values: Any) -> None:
            load_command(show.__name__)
            load_extensions(values["extensions"])
            given = {key: values[key] if flag.read is None else flag.read(values[key]) for key, flag in taken.items()}
            front = () if options is None else (options(**given),)
            show(*front, **{parameter.name: values[parameter.name] for parameter in own})

        default = {name: _written(field) for name, field in known.items()} | {p.name: p.default for p in own}
        default |= {"extensions": None, "defaults": None}
        kinds: dict[str, Any] = {name: _annotated(flag) for name, flag in taken.items()}
        kinds |= {p.name: p.annotation for p in own} | {"extensions": Extensions, "defaults": Defaults}
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter(key, kind, default=default[key], annotation=kinds[key]) for key in kinds]
        run.__name__, run.__doc__, run.__annotations__ = show.__name__, show.__doc__, kinds
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def _annotated(flag: Flag) -> Any:
    """A flag as Typer reads it."""
    if flag.is_argument:
        return Annotated[flag.kind, typer.Argument(metavar=flag.metavar, help=flag.help)]
    return Annotated[flag.kind, typer.Option(*flag.names, help=flag.help)]


def _written(field: Field[Any]) -> Any:
    """A field's default as it would be written."""
    if field.default is MISSING:
        return inspect.Parameter.empty
    if isinstance(field.default, tuple):
        return ",".join(str(part) for part in field.default) or None
    return field.default
