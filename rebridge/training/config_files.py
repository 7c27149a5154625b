"""Settings from YAML files.

Read, overridden on the command line, checked by pydantic, every error naming its key.

A file may name another one to begin from, `base: other.yaml` (relative to itself); its own keys win, group by group. Paths may
hold environment variables, `${REBRIDGE_DATA}/train`, which are looked up when the path is used.
"""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rebridge.catalogue import shortened, type_in_words
from rebridge.images.atomic import reason
from rebridge.images.yaml_files import parse_yaml, read_yaml

Settings = TypeVar("Settings", bound=BaseModel)
EXPECTED = {
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "settings by name were expected"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list was expected"),
    "path_type": "a path was expected",
    "string_type": "text was expected",
}
"""Words for what pydantic says in those of Python, by the type of its complaint."""
LONGEST_CHAIN = 8
"""Files that may build on one another; more are a circle."""


class ConfigError(ValueError):
    """A configuration that cannot be used.

    The message is one sentence that names the key.
    """


def read_tree(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read the settings of a YAML file and of those it builds on (`base`).

    Overrides such as `optimisation.lr=1e-3` are applied.

    Raises ConfigError, one sentence naming the file, for one that cannot be read or is no YAML mapping, and for an
    override without "=".
    """
    path = Path(path)
    tree = _read(path)
    for _ in range(LONGEST_CHAIN):
        if "base" not in tree:
            return override(tree, overrides)
        path = path.parent / str(tree.pop("base"))
        tree = merged(_read(path), tree)
    raise ConfigError(f"{path}: base: these files build on one another in a circle")


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = read_yaml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {reason(error)}") from None
    except ValueError as error:
        text = str(error)
        raise ConfigError(f"{path} {text}" if text.startswith("is ") else f"{path} is not YAML: {text}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold keys and values, got {type_in_words(tree)}")
    return tree


def expand(path: Path, key: str) -> Path:
    """Put environment variables into a path such as ${REBRIDGE_DATA}/train.

    Raises:
        ConfigError: one of them is not set; names `key`, the setting that the path comes from.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in os.environ:
            raise ConfigError(
                f"{key}: {path} needs the environment variable {name}: set it to the folder of your data, "
                f"or give {key}=FOLDER"
            )
        return os.environ[name]

    return Path(re.sub(r"\$\{(\w+)\}", value, str(path)))


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Combine two trees; where both have a value, that of `above` wins.

    Groups are combined key by key, but a group that names another part (`name`) takes the place of the one below.
    """
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, dict) and _same_part(old, value) else value
    return both


def _same_part(below: dict[str, Any], above: Any) -> bool:
    """True for groups of settings unless both name a part, and different ones."""
    return isinstance(above, dict) and len({group["name"] for group in (below, above) if "name" in group}) < 2


def override(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of a tree of settings with each `dotted.key=value` set.

    Numbers in the key index lists.
    """
    tree = _copied(tree)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"{text!r} is not an override: write key=value, such as optimisation.lr=1e-3")
        try:
            parsed = parse_yaml(value)
        except ValueError:
            raise ConfigError(f"the value of {key} is not YAML: {shortened(value)}") from None
        try:
            _set(tree, key.split("."), parsed)
        except ValueError as error:
            raise ConfigError(f"{key} cannot be set: {error}") from None
    return tree


def parse_as(kind: type[Settings], tree: dict[str, Any], source: str) -> Settings:
    """Check a tree of settings.

    Raises ConfigError, one sentence naming `source` and the first key in error.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_sentence(error, kind)}") from None


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def _set(tree: Any, keys: list[str], value: Any) -> None:
    for depth, key in enumerate(keys):
        if not isinstance(tree, dict | list):
            raise ValueError(f"{'.'.join(keys[:depth])} is {shortened(tree)}, not a group of settings")
        place: Any = _index(key, tree, ".".join(keys[:depth])) if isinstance(tree, list) else key
        if depth == len(keys) - 1:
            tree[place] = value
        elif isinstance(tree, dict):
            tree = tree.setdefault(place, {})
        else:
            tree = tree[place]


def _index(key: str, values: list[Any], name: str) -> int:
    """The place in a list that a key says; ValueError where there is none."""
    places = {str(number): number for number in range(len(values))}
    if key not in places:
        raise ValueError(
            f"{name} is a list with the places 0 to {len(values) - 1}, and {shortened(key)} is none of them"
        )
    return places[key]


def _sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first of pydantic's complaints, and how many more there are."""
    first, *others = error.errors()
    # of a choice between several forms, the place names the one that was tried: "lax-or-strict[...]"
    key = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    if first["type"] == "extra_forbidden":
        text = f"unknown key {key}{_suggestion(first['loc'], kind)}"
    elif first["type"] == "missing":
        text = f"the key {key} is missing"
    else:
        reason = EXPECTED.get(first["type"]) or first["msg"].removeprefix("Value error, ").partition(", unable to")[0]
        got = "" if first["type"] == "value_error" else f", got {shortened(first['input'])}"
        text = f"{f'{key}: ' if key else ''}{reason[0].lower()}{reason[1:]}{got}"
    return text + (f" (and {len(others)} more)" if others else "")


def _suggestion(place: tuple[int | str, ...], kind: type[BaseModel]) -> str:
    """The known key of the same section that is spelt most alike, if any is."""
    section: Any = kind
    for part in place[:-1]:
        field = _fields(section).get(part)
        section = field.annotation if field is not None else None
    known = list(_fields(section))
    close = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"; did you mean {'.'.join([*map(str, place[:-1]), close[0]])}?" if close else ""


def _fields(section: Any) -> dict[Any, Any]:
    """The fields of a group of settings; none for anything else."""
    return dict(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else {}
