"""Files of a user's own defaults: options by name, in YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rebridge.catalogue import type_in_words
from rebridge.commands.flags import OPTIONS


def read_defaults(path: Path, command: str, spelled: Mapping[str, str]) -> dict[str, Any]:
    """Read the defaults that a file has for one command.

        device: cpu
        restore:
          strength: 0.8
          before-after: true

    Args:
        path: the file.
        command: name of the command.
        spelled: its parameters by each word that they are written with, as "--before-after".

    Returns:
        Values by parameter; those of the command's own section count more.

    Raises:
        ValueError: a file that is no such mapping, or an option that there is not; one sentence.
    """
    from rebridge.images.yaml_files import read_yaml  # late, so that help needs no torch

    try:
        found = read_yaml(path)
    except UnicodeDecodeError:
        raise ValueError(f"--config {path}: cannot be read: it is no YAML") from None
    except OSError as error:
        raise ValueError(f"--config {path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise ValueError(f"--config {path}: cannot be read: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ValueError(f"--config {path}: options are written as NAME: VALUE, got {type_in_words(found)}")
    own = {word.lstrip("-").replace("-", "_"): name for word, name in spelled.items()}
    anywhere = {*OPTIONS, *(word.lstrip("-").replace("-", "_") for flag in OPTIONS.values() for word in flag.names)}
    values: dict[str, Any] = {}
    section: dict[str, Any] = {}
    for key, value in found.items():
        name = str(key).replace("-", "_")
        if isinstance(value, Mapping):
            if str(key) == command:
                section = {_known(path, own, part, command): given for part, given in value.items()}
        elif name in own:
            values[own[name]] = value
        elif name not in anywhere:
            raise ValueError(f"--config {path}: there is no option '{key}'")
    return {name: _written(value) for name, value in (values | section).items()}


def _known(path: Path, own: Mapping[str, str], key: object, command: str) -> str:
    name = str(key).replace("-", "_")
    if name not in own:
        raise ValueError(f"--config {path}: {command} has no option '{key}'")
    return own[name]


def _written(value: Any) -> Any:
    """A value as it would be written on the command line."""
    if isinstance(value, list):
        return [str(part) for part in value]
    return value if isinstance(value, bool) or value is None else str(value)
