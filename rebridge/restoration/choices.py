"""Choices of a user: texts, dictionaries or objects, and their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from rebridge import bridges
from rebridge.bridges import Bridge
from rebridge.catalogue import Spec, shortened
from rebridge.denoisers import Progress
from rebridge.inverse.methods.base import Method
from rebridge.restoration.engine import Tiles
from rebridge.samplers import Sampler
from rebridge.samplers.base import Callback
from rebridge.samplers.noise import mixed

BridgeChoice = str | Mapping[str, Any] | Bridge | None
SamplerChoice = str | Mapping[str, Any] | Sampler | None
MethodChoice = str | Mapping[str, Any] | Method | None
Seed = int | Sequence[int]


@dataclass(frozen=True)
class Asked:
    """The settings of a call beside its image; see `Restorer.__call__`."""

    steps: int | None
    seed: Seed
    tiles: Tiles
    samples: int
    strength: float
    callback: Callback | None
    progress: Progress | None
    keep: bool
    conditions: Mapping[str, Any]


def named(choice: str | Mapping[str, Any]) -> dict[str, Any]:
    """Read a choice as {"name": ..., **parameters}; texts as "dbim:eta=1"."""
    if isinstance(choice, str):
        spec = Spec.parse(choice)
        return {"name": spec.name, **spec.params}
    if not isinstance(choice, Mapping):
        raise ValueError(f'a part is given by its name, as "dbim:eta=1", or as a dictionary, got {shortened(choice)}')
    if "name" not in choice:
        raise ValueError("what is given as a dictionary needs a name")
    return dict(choice)


def bridge_of(choice: BridgeChoice) -> Bridge | None:
    """Make the bridge of a choice, or None; ValueError where it is unknown."""
    if choice is None or isinstance(choice, Bridge):
        return choice
    described = named(choice)
    return bridges.create(described.pop("name"), **described)


def seeds_of(seed: Seed, images: int) -> list[int]:
    """One seed per image; ValueError for a negative seed or another number of them."""
    if not isinstance(seed, Integral | Sequence) or isinstance(seed, str):
        raise ValueError(f"seed must be an integer from 0 up, got {shortened(seed)}")
    given = [seed] * images if isinstance(seed, Integral) else list(seed)
    seeds = [int(value) if type(value) is not bool and isinstance(value, Integral) else value for value in given]
    if len(seeds) != images:
        raise ValueError(f"{len(seeds)} seeds for {images} images: give one seed, or one per image")
    for value in seeds:
        mixed(value, 0)
    return seeds
