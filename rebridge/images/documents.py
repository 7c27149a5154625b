"""JSON files from others, read within limits.

Size, depth and digits are bounded, and a key that stands twice is an error, since only one of its values could count.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rebridge.images.atomic import reason
from rebridge.images.regular import read_regular

LARGEST_JSON = 2**24
"""Bytes of a JSON file: 16 MB, far above any that describes a model, a run or presets."""
DEEPEST_JSON = 50
"""Levels to which lists and objects may be nested."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: another kind of file, one that cannot be read, or JSON that is broken or beyond the limits; a phrase that
            goes on from the file's name, "is a named pipe, not a JSON file".
    """
    try:
        data, _ = read_regular(path, LARGEST_JSON, "a JSON file")
        return parse_json(data.decode("utf-8"))
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        raise ValueError("is not readable JSON: it is no text in UTF-8") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {reason(error)}") from None


def parse_json(text: str) -> Any:
    """Read JSON from a text, within the same limits.

    Raises:
        ValueError: as `read_json`.
    """
    if _depth(text) > DEEPEST_JSON:
        raise ValueError(f"is not readable JSON: it is nested more than {DEEPEST_JSON} levels deep")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:
        raise ValueError(f"is not readable JSON: {reason(error)}") from None


def _depth(text: str) -> int:
    """The greatest number of brackets open at once, outside strings."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", _QUOTED.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:80]!r} stands twice in one object")
        found[key] = value
    return found
