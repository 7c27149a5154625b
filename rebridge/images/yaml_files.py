"""YAML within limits: size, depth, aliases, and no key twice.

The core of YAML 1.2 where it matters: 1e-4 is a number, `on` and `no` are words and only true and false are not; no dates.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from rebridge.images.regular import read_regular

LARGEST_YAML = 2**18
"""Bytes of a configuration."""
DEEPEST_YAML = 40
"""Levels to which groups and lists may be nested."""
MOST_NODES = 100_000
"""Keys and values of a file, those that aliases repeat counted as often as they stand for."""


class _Loader(yaml.SafeLoader):
    """A safe loader that counts what it composes."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, and refuse it where it is too deep, contains itself or stands for too much."""
        alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark
        self._depth += 1
        if self._depth > DEEPEST_YAML:
            raise yaml.MarkedYAMLError(None, None, f"it is nested more than {DEEPEST_YAML} levels deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias and id(node) not in self._sizes:  # an anchor is complete once its own node is
            raise yaml.MarkedYAMLError(None, None, "a value contains itself by an alias", mark)
        size = self._sizes.setdefault(id(node), 1 + sum(self._sizes[id(part)] for part in _parts(node)))
        if size > MOST_NODES:
            raise yaml.MarkedYAMLError(None, None, f"it stands for more than {MOST_NODES:,} values", mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; a key that stands twice in it is an error."""
        if isinstance(node, yaml.MappingNode):
            keys: set[tuple[str, str]] = set()
            for key, _ in node.value:
                name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
                if name in keys and key.tag != "tag:yaml.org,2002:merge":
                    where = key.start_mark
                    raise yaml.MarkedYAMLError(None, None, f"the key {key.value[:60]!r} stands twice", where)
                if name is not None:
                    keys.add(name)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":float", ":bool", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:\d+\.\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(?:inf|Inf)|\.(?:nan|NaN))$"
    ),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|false|False)$"), list("tTfF"))


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, no text in UTF-8, no YAML, or beyond the limits.
    """
    data, _ = read_regular(path, LARGEST_YAML, "a YAML file")
    return parse_yaml(data.decode("utf-8"))


def parse_yaml(text: str) -> Any:
    """Read YAML from a text, within the limits.

    Raises:
        ValueError: it is no YAML, or beyond the limits.
    """
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).replace(' in "<unicode string>",', ",").split())) from None
    except (ValueError, ArithmeticError, RecursionError) as error:  # numbers of too many digits, unhashable keys
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    finally:
        if loader is not None:
            loader.dispose()


def _parts(node: yaml.Node | None) -> list[yaml.Node]:
    """The nodes directly inside a node."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
