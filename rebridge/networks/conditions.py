"""Extra conditions: what a network is told beside state, time and degraded image.

    map      a picture of the image's size, such as a mask or depth     (B, size, H, W) in [0, 1]
    kernel   of a blur; it is turned with the picture in training       (B, size, size)
    number   such as a noise level                                      (B,)
    class    one of `size` classes, counted from 0                      (B,), integers
    vector   such as the embedding of a text                            (B, size)

A network declares them by name and takes them by name: forward(x, t, y, depth=..., sigma=...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.layers import Network, pad_to_multiple, zero_init

CONDITION_FORMS = ("map", "kernel", "number", "class", "vector")
RESERVED = (
    "x", "t", "y", "likely", "heard", "clean", "condition", "image", "samples", "steps", "seed", "tile", "overlap", "strength",
    "sampler", "method", "callback", "progress", "keep", "self",
)  # fmt: skip
"""Names that networks, models and restorers use otherwise."""
LARGEST_CONDITION = 8192
"""Greatest size of a condition."""
MAP_ALIGN = 32
"""Maps are extended to multiples of this before parts are cut out, as images are."""


@dataclass(frozen=True)
class Condition:
    """The declaration of one extra condition.

    Args:
        form: one of `CONDITION_FORMS`.
        size: channels of a map, side of a kernel, number of classes, length of a vector; 1 for a number.
        scale: what values are divided by before a network of the catalogue sees them, such as 50 for noise levels up to 50.

    Raises:
        ValueError: an unknown form, or a size or scale that the form cannot have.
    """

    form: str = "map"
    size: int = 1
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in CONDITION_FORMS:
            raise ValueError(f"form must be one of {', '.join(CONDITION_FORMS)}, got {self.form!r}")
        if type(self.size) is not int or not 1 <= self.size <= LARGEST_CONDITION:
            raise ValueError(f"size must be a whole number from 1 to {LARGEST_CONDITION}, got {self.size!r}")
        if self.form == "number" and self.size != 1:
            raise ValueError(f"a number has size 1, got {self.size}; use a vector")
        if self.form == "class" and self.size < 2:
            raise ValueError("a class needs a size of at least 2, the number of classes")
        if isinstance(self.scale, bool) or not isinstance(self.scale, int | float) or not 0 < self.scale < 1e12:
            raise ValueError(f"scale must be a positive number, got {self.scale!r}")

    def __str__(self) -> str:
        words = {
            "map": f"a map of {self.size} channel{'s' * (self.size != 1)}",
            "kernel": f"a kernel of {self.size} x {self.size}",
            "number": "a number",
            "class": f"a class from 0 to {self.size - 1}",
            "vector": f"a vector of {self.size} numbers",
        }
        return words[self.form]

    def shape(self, size: tuple[int, int] | None = None) -> tuple[int, ...]:
        """The shape of one value.

        size: (height, width) of the picture, which maps have.
        """
        if self.form == "map":
            return (self.size, *(size or (-1, -1)))
        return {"kernel": (self.size, self.size), "vector": (self.size,)}.get(self.form, ())

    def checked(self, name: str, value: Tensor, rows: int, size: tuple[int, int] | None) -> Tensor:
        """Check a value and give each of `rows` images its own.

        Args:
            name: for messages.
            value: one for all images, with or without an axis of length 1 before it, or one for each.
            rows: number of images.
            size: their (height, width); None where it is not known, and maps cannot be had.

        Returns:
            (rows, ...), of integers for a class, else float32.

        Raises:
            ValueError: another shape, NaN, or a value out of range.
        """
        wanted = self.shape(size)
        if value.ndim == len(wanted):
            value = value[None]
        fits = value.shape[1:] == wanted and len(value) in (1, rows)
        if not fits or (self.form == "map" and size is None):
            shown = " x ".join(str(side) for side in (rows, *wanted)) or "1"
            raise ValueError(
                f"the condition {name!r} is {self}: it must have the shape {shown}, or one for all images, "
                f"got {' x '.join(str(side) for side in value.shape)}"
            )
        if self.form == "class":
            whole = value.long()
            if (whole != value).any() or (whole < 0).any() or (whole >= self.size).any():
                raise ValueError(f"the condition {name!r} is {self}, got {_few(value)}")
            return whole.expand(rows)
        value = value.float()
        low, high = value.amin().item(), value.amax().item()
        if not value.isfinite().all() or (self.form == "map" and not (low >= 0 and high <= 1)):
            within = " in [0, 1]" if self.form == "map" else ""
            raise ValueError(f"the condition {name!r} must be finite{within}, got {low:.4g} to {high:.4g}")
        return value.expand(rows, *value.shape[1:])


Conditions = Mapping[str, Condition]
"""Declared conditions by name."""
Values = Mapping[str, Tensor]
"""Conditions of a batch by name, each (B, ...)."""
NONE: dict[str, Tensor] = {}


def conditions_of(described: Mapping[str, Any] | None) -> dict[str, Condition]:
    """Read declarations of conditions by name.

    Such as {"depth": "map", "scene": {"form": "class", "size": 5}}.

    Raises:
        ValueError: a name or a declaration that is none; it names the condition.
    """
    found: dict[str, Condition] = {}
    if described is not None and not isinstance(described, Mapping):
        raise ValueError(f"conditions must be a mapping from names to forms, got {type(described).__name__}")
    for name, given in (described or {}).items():
        if not str(name).isidentifier() or iskeyword(name) or name in RESERVED:
            raise ValueError(
                f"conditions: {name!r} cannot name a condition; use a word other than {', '.join(RESERVED)}"
            )
        try:
            known = {"form": given} if isinstance(given, str) else given
            found[name] = given if isinstance(given, Condition) else Condition(**known)
        except (TypeError, ValueError) as error:
            raise ValueError(f"conditions.{name}: {error}") from None
    return found


def checked(
    declared: Conditions, given: Values, rows: int | None, size: tuple[int, int] | None, who: str
) -> dict[str, Tensor]:
    """Check conditions against what is declared.

    Args:
        declared: what is wanted, all of it.
        given: values by name, see `Condition.checked`.
        rows: number of images; None for as many as the first value has.
        size: (height, width) of the images; None for that of the first map.
        who: begins the sentence, such as "model 'x'".

    Raises:
        ValueError: a condition that is missing, unknown, or of another shape.
    """
    check_names(declared, given, who)
    if rows is None:
        rows = max(
            (len(given[name]) for name, one in declared.items() if given[name].ndim > len(one.shape())), default=1
        )
    maps = [given[name].shape for name, one in declared.items() if one.form == "map" and given[name].ndim >= 3]
    if size is None and maps:
        size = maps[0][-2], maps[0][-1]
    return {name: one.checked(name, given[name], rows, size) for name, one in declared.items()}


def check_names(declared: Conditions, given: Mapping[str, Any], who: str) -> None:
    """Raise ValueError unless all declared conditions are given, and no others."""
    for name in given:
        if name not in declared:
            raise ValueError(f"{who} takes no condition or option {name!r}; its conditions are {listed(declared)}")
    for name, one in declared.items():
        if name not in given:
            raise ValueError(f"{who} needs the condition {name!r}, {one}")


def listed(declared: Conditions) -> str:
    """Name conditions and their forms in a sentence."""
    return ", ".join(f"{name} ({one})" for name, one in declared.items()) or "none"


def blank(
    declared: Conditions, rows: int, size: tuple[int, int], device: str | torch.device = "cpu"
) -> dict[str, Tensor]:
    """Make conditions that are all 0, such as for counting."""
    kinds = {name: torch.long if one.form == "class" else torch.float32 for name, one in declared.items()}
    return {
        name: torch.zeros(rows, *one.shape(size), dtype=kinds[name], device=device) for name, one in declared.items()
    }


def at_rows(values: Values, rows: Tensor) -> dict[str, Tensor]:
    """The conditions of some images of a batch, by their numbers."""
    return {name: value[rows] for name, value in values.items()}


def cut(declared: Conditions, values: Values, rows: slice, columns: slice, align: int = MAP_ALIGN) -> dict[str, Tensor]:
    """Cut a part out of maps; other conditions are those of the whole image.

    align: the part may reach beyond the image up to the next multiple of this; there it is extended by reflection.
    """
    return {
        name: pad_to_multiple(value, align)[..., rows, columns] if declared[name].form == "map" else value
        for name, value in values.items()
    }


def at_scale(declared: Conditions, values: Values, multiple: int, scale: int) -> dict[str, Tensor]:
    """Shrink maps to the size of states of which each cell has scale x scale pixels.

    multiple: images are extended to multiples of this before.
    """
    if scale == 1:
        return dict(values)
    return {
        name: F.avg_pool2d(pad_to_multiple(value, multiple), scale) if declared[name].form == "map" else value
        for name, value in values.items()
    }


class ConditionLayers(nn.Module):
    """Conditions added to the first features and the embedded time of a network.

    Nothing before training, so that a trained network can be given conditions.

    Args:
        declared: the conditions.
        planes: values that the first convolution sees for each channel of a map at a place, 4 after a 2 x 2 unshuffle.
        width: features of the first convolution.
        embedding: features of time.
    """

    def __init__(self, declared: Conditions, planes: int, width: int, embedding: int) -> None:
        super().__init__()
        self.declared = dict(declared)
        maps = sum(one.size for one in declared.values() if one.form == "map")
        numbers = sum(one.size ** (2 if one.form == "kernel" else 1) for one in declared.values() if one.form != "map")
        self.maps = zero_init(nn.Conv2d(planes * maps, width, 3, padding=1)) if maps else None
        self.numbers = (
            nn.Sequential(nn.Linear(numbers, embedding), nn.SiLU(), zero_init(nn.Linear(embedding, embedding)))
            if numbers
            else None
        )

    def seen(self, h: Tensor, values: Values, unshuffle: Callable[[Tensor], Tensor]) -> Tensor:
        """Add maps to the first features.

        Args:
            h: features (B, width, ...).
            values: all conditions.
            unshuffle: turns a picture (B, channels, H, W) into what the first convolution sees of it.
        """
        if self.maps is None:
            return h
        maps = [2 * values[name] / one.scale - 1 for name, one in self.declared.items() if one.form == "map"]
        result: Tensor = h + self.maps(unshuffle(torch.cat(maps, 1).to(h.dtype)))
        return result

    def embedded(self, values: Values, embedding: Tensor) -> Tensor:
        """Add what is no map to the embedded time (B, embedding).

        Raises:
            ValueError: a condition that is missing or unknown.
        """
        check_names(self.declared, values, "the network")
        if self.numbers is None:
            return embedding
        parts = [self._plain(one, values[name]) for name, one in self.declared.items() if one.form != "map"]
        result: Tensor = embedding + self.numbers(torch.cat(parts, 1).to(embedding.dtype))
        return result

    @staticmethod
    def _plain(one: Condition, value: Tensor) -> Tensor:
        """A condition as numbers, (B, n)."""
        if one.form == "class":
            return (value[:, None] == torch.arange(one.size, device=value.device)).float()
        return (value.flatten(1) if value.ndim > 1 else value[:, None]) / one.scale  # any number of rows in a graph


class Bound(Network):
    """A network with the extra conditions of some images.

    Called with states of k times as many rows, it takes the images k times, one after the other.

    Args:
        network: called with the conditions by name.
        declared: what they are.
        values: the conditions, each (B, ...), maps of the size of the states.
    """

    def __init__(self, network: nn.Module, declared: Conditions, values: Values) -> None:
        super().__init__()
        self.network = network
        self.declared, self.values = declared, values
        if isinstance(network, Network):
            self.channels, self.multiple, self.context = network.channels, network.multiple, network.context

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Compute the raw output; see `Network`."""
        height, width = x.shape[-2:]
        told = {}
        for name, value in self.values.items():
            value = value.repeat(len(x) // len(value), *[1] * (value.ndim - 1))
            told[name] = _sized(value, height, width) if self.declared[name].form == "map" else value
        output: Tensor = self.network(x, t, y, **told)
        return output

    def seeing(self, y: Tensor) -> Bound:
        """See `Network.seeing`."""
        inner = self.network.seeing(y) if isinstance(self.network, Network) else self.network
        return Bound(inner, self.declared, self.values)

    def part(self, rows: slice, columns: slice) -> Bound:
        """See `Network.part`."""
        inner = self.network.part(rows, columns) if isinstance(self.network, Network) else self.network
        return Bound(inner, self.declared, cut(self.declared, self.values, rows, columns))


def _sized(value: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, C, H, W) of the size of the states beside them, which may be extended or cut at the right and the bottom."""
    missing = max(height - value.shape[-2], 0), max(width - value.shape[-1], 0)
    if any(missing):
        value = F.pad(value, (0, missing[1], 0, missing[0]), mode="replicate")
    return value[..., :height, :width]


def _few(value: Tensor) -> str:
    return ", ".join(f"{number:g}" for number in value.flatten()[:4].tolist())
