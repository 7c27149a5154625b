"""Look things up in the names of weights: prefixes, sizes, numbers of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from rebridge.models.formats.published.errors import FormatError


def prefix_of(names: Iterable[str], anchor: str) -> str | None:
    """Find what stands before the anchor in the first name that ends with it.

    None if none does.
    """
    for name in names:
        if name == anchor or name.endswith("." + anchor):
            return name[: len(name) - len(anchor)]
    return None


def channels_out(state: Mapping[str, Tensor], name: str) -> int:
    """First size of a weight; FormatError, a phrase, if it is missing."""
    return int(need(state, name).shape[0])


def channels_in(state: Mapping[str, Tensor], name: str) -> int:
    """Second size of a weight; FormatError, a phrase, if it is missing."""
    return int(need(state, name).shape[1])


def need(state: Mapping[str, Tensor], name: str) -> Tensor:
    """The weight of that name; FormatError, a phrase, if it is missing or a scalar."""
    if name not in state:
        raise FormatError(f"lacks the weight {name}")
    if state[name].ndim < 1:
        raise FormatError(f"has a scalar as {name}")
    return state[name]
