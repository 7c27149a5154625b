"""Limits on the numbers among the options of commands.

They are far above any use and far below what fills a machine for days. What a model or sampler allows within them is theirs
to say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from rebridge.catalogue import shortened

GREATEST_OPTION: dict[str, int] = {
    "steps": 10_000,
    "samples": 10_000,
    "seed": 2**63 - 1,
    "seeds": 2**63 - 1,
    "tile": 2**16,
    "overlap": 2**16,
    "size": 2**15,
    "crop": 2**15,
    "draws": 10**7,
    "rounds": 1000,
    "max_pixels": 2**40,
    "limit": 10**9,
    "workers": 10_000,
}
"""Greatest value of an option, by its name, whatever the command."""


LEAST_OPTION: dict[str, int] = {"workers": 1, "max_pixels": 1, "draws": 2, "rounds": 1, "crop": 1}
"""Least value of options that nothing else checks."""


@dataclass(frozen=True, kw_only=True)
class Limited:
    """Options whose numbers are within `GREATEST_OPTION`.

    Raises:
        ValueError: one is not; the sentence names the option.
    """

    def __post_init__(self) -> None:
        for field in fields(self):
            greatest = GREATEST_OPTION.get(field.name, math.inf)
            for number in _numbers(getattr(self, field.name)):
                if number < LEAST_OPTION.get(field.name, -math.inf):
                    raise ValueError(
                        f"{field.name} must be at least {LEAST_OPTION[field.name]}, got {shortened(number)}"
                    )
                if not abs(number) <= greatest or not math.isfinite(number):
                    wanted = "a finite number" if isinstance(number, float) else f"at most {greatest}"
                    raise ValueError(f"{field.name} must be {wanted}, got {shortened(number)}")


def _numbers(value: Any) -> Iterator[float]:
    """The numbers of an option: itself, or those of a sequence."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)
