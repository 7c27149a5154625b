"""Extra conditions from the command line.

`--condition depth=FOLDER --condition sigma=0.1`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rebridge.models import Model
from rebridge.networks.conditions import check_names


def check_conditions(model: Model, given: Mapping[str, Any] | None) -> None:
    """Check the conditions of a command before any work.

    Args:
        model: what declares them.
        given: by name: numbers, files or folders.

    Raises:
        ValueError: one that is missing, unknown, or of no file and no number.
    """
    check_names(model.info.conditions, given or {}, f"model '{model.info.name}'")
    for name, value in (given or {}).items():
        if isinstance(value, str) and not Path(value).expanduser().exists():
            raise ValueError(f"--condition {name}={value}: no such file or folder")
        if not isinstance(value, str) and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"--condition {name} takes a number, a file or a folder, got {value}")


def drawn_conditions(model: Model, given: Mapping[str, Any] | None, tasks: Sequence[str]) -> list[str]:
    """List numbers that degradations draw.

    They are not given, and a parameter of each of them.

    Args:
        model: what declares conditions.
        given: conditions by name.
        tasks: names of degradations.
    """
    from rebridge import degradations

    known = [degradations.parameters(task) if task in degradations.names() else {} for task in tasks]
    return [
        name
        for name, one in model.info.conditions.items()
        if one.form == "number" and name not in (given or {}) and known and all(name in part for part in known)
    ]


def own_conditions(models: Sequence[Model], given: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Choose of the conditions of a command those that each model declares.

    Args:
        models: of which one at least declares each condition.
        given: as in `check_conditions`.

    Raises:
        ValueError: a condition that no model declares.
    """
    declared = [model.info.conditions for model in models]
    for name in given or {}:
        if not any(name in known for known in declared):
            check_conditions(models[0], {name: (given or {})[name]})
    return [{name: value for name, value in (given or {}).items() if name in known} for known in declared]


def conditions_of_file(picture: Path, model: Model, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Read the conditions of one picture.

    Args:
        picture: the file that is restored; in a folder of conditions, theirs have its name.
        model, given: as in `check_conditions`.

    Raises:
        ValueError: a file that is missing, cannot be read, or does not fit.
    """
    found: dict[str, Any] = {}
    if not given:
        return found
    from rebridge.data.conditions import file_of, files_by_name, read_condition

    for name, value in given.items():
        found[name] = value
        if isinstance(value, str):
            place: Path | None = Path(value).expanduser()
            if place is not None and place.is_dir():
                place = file_of(picture, files_by_name(place))
            if place is None:
                raise ValueError(f"{picture} has no file of its name in {value}, for --condition {name}")
            found[name] = read_condition(place, name, model.info.conditions[name])
    return found
