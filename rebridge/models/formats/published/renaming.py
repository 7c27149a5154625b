"""Renaming of published weights to the names used here, by lists of rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from rebridge.models.formats.published.errors import FormatError

Rules = Iterable[tuple[str, str]]
MOST_DIGITS = 9
"""Digits of a number that are read; those of parts have three at most."""
UNNAMED = 4
"""At most so many numbered parts come to one weight; those without weights, such as activations, count too."""

LUCIDRAINS: tuple[tuple[str, str], ...] = (
    (r"^init_conv\.", "head."),
    (r"^time_mlp\.1\.", "time.first."),
    (r"^time_mlp\.3\.", "time.second."),
    (r"^downs\.", "descent."),
    (r"^ups\.", "ascent."),
    (r"^(descent|ascent)\.(\d+)\.0\.", r"\1.\2.first."),
    (r"^(descent|ascent)\.(\d+)\.1\.", r"\1.\2.second."),
    (r"^(descent|ascent)\.(\d+)\.2\.", r"\1.\2.attend."),
    (r"^(descent|ascent)\.(\d+)\.3\.", r"\1.\2.leave."),
    (r"^mid_block1\.", "middle_first."),
    (r"^mid_attn\.", "middle_attend."),
    (r"^mid_block2\.", "middle_second."),
    (r"^final_res_block\.", "last."),
    (r"^final_conv\.", "tail."),
    (r"\.mlp\.1\.", ".modulate.affine."),
    (r"\.block1\.proj\.", ".first."),
    (r"\.block2\.proj\.", ".second."),
    (r"\.block1\.norm\.", ".first_norm."),
    (r"\.block2\.norm\.", ".second_norm."),
    (r"\.res_conv\.", ".match."),
    (r"\.fn\.norm\.g$", ".norm.gain"),
    (r"\.fn\.fn\.to_qkv\.", ".project."),
    (r"\.fn\.fn\.to_out\.1\.g$", ".leave_norm.gain"),
    (r"\.fn\.fn\.to_out\.0\.", ".leave."),
    (r"\.fn\.fn\.to_out\.", ".leave."),
)
"""The U-Nets that descend from lucidrains' denoising-diffusion-pytorch: IR-SDE, GOUB, UniDB, RDDM, DiffUIR."""


def rename(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Apply each (pattern, replacement) to every name, in order.

    Raises:
        ValueError: If two weights end up with one name.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in compiled:
            new = pattern.sub(replacement, new)
        if new in renamed:
            raise ValueError(f"two weights would be called {new!r}, one of them {name!r}")
        renamed[new] = value
    return renamed


def flat_gains(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gains of shape (1, C, 1, 1) as vectors (C,), views without a copy."""
    return {
        name: value.flatten() if name.endswith("norm.gain") and value.ndim == 4 else value
        for name, value in state.items()
    }


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with the prefix, without it."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def count(names: Iterable[str], pattern: str) -> int:
    """Count numbered parts: the largest number the pattern's group finds, plus 1.

    Patterns match at the beginning of names; 0 where none does.

    Raises:
        FormatError: A phrase, for a number out of all proportion to the names.
    """
    compiled, known = re.compile(pattern), list(names)
    digits = (match.group(1)[:MOST_DIGITS] for match in map(compiled.match, known) if match)
    found = max(map(int, digits), default=-1) + 1
    if found > UNNAMED * (len(known) + 1):
        raise FormatError(f"has a part with the number {found - 1}, but {len(known)} weights in all")
    return found
