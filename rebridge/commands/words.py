"""Words of the command line: options that are read from them, and sentences."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from rebridge.catalogue import value_of

_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters, separators of lines, and what turns the direction of writing."""


def numbers(option: str, smallest: int = 1) -> Callable[[str | None], list[int] | None]:
    """Make a reader of whole numbers separated by commas."""

    def read(text: str | None) -> list[int] | None:
        try:
            found = None if text is None else [int(part) for part in text.split(",")]
        except ValueError:
            raise ValueError(f"{option} takes whole numbers separated by commas, got {text!r}") from None
        if found and min(found) < smallest:
            raise ValueError(f"{option} must be at least {smallest}, got {min(found)}")
        return found

    return read


def pairs(option: str) -> Callable[[Sequence[str] | None], dict[str, Any] | None]:
    """Make a reader of KEY=VALUE words.

    A value may have commas in it, as a prompt has.
    """

    def read(words: Sequence[str] | None) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        for text in words or []:
            key, equals, value = text.partition("=")
            if not (key and equals):
                raise ValueError(f"{option} takes KEY=VALUE, got {text!r}")
            found[key.strip()] = value_of(value.strip())
        return found or None

    return read


def choices(words: Sequence[str] | None) -> dict[str, tuple[Any, ...]] | None:
    """Read what to search: a setting alone, or as KEY=VALUE,VALUE."""
    split = [text.partition("=") for text in words or []]
    return {key: tuple(value_of(part) for part in rest.split(",")) if rest else () for key, _, rest in split} or None


def size(text: str | None) -> tuple[int, int] | None:
    """Read WIDTHxHEIGHT, as (height, width)."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--size takes WIDTHxHEIGHT, as 384x256, got {text!r}")
    return int(parts[1]), int(parts[0])


def listed(words: Sequence[str] | None) -> tuple[str, ...]:
    """Read an option that can be repeated."""
    return tuple(words or ())


def counted(files: int) -> str:
    """Count files in words."""
    return f"{files} file{'s' * (files != 1)}"


def printable(text: str) -> str:
    """Write as escapes what a terminal would obey, as line breaks in names."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def sentence_of(error: ValueError | OSError) -> str:
    """Say an error in one line."""
    if isinstance(error, OSError) and error.strerror:
        if isinstance(error, FileNotFoundError) and error.filename is None and not os.path.exists("."):
            return "the current folder does not exist any more"
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def fault(error: Exception) -> tuple[str, int]:
    """Say an error in one line that is no bad input.

    It is memory that does not suffice, or else a fault of ours.

    Returns:
        The sentence, and the exit code: 2, or 70 (EX_SOFTWARE of sysexits.h).
    """
    from rebridge.images.atomic import out_of_memory, reason

    if out_of_memory(error):
        return reason(error), 2
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"a fault of rebridge, please report it ({what}); REBRIDGE_TRACEBACK=1 shows where it arose", 70
