"""The operators by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from rebridge.catalogue import Catalogue, Spec
from rebridge.inverse.operators.base import Operator, check_shape
from rebridge.inverse.operators.convolution import blur
from rebridge.inverse.operators.jpeg import JPEG
from rebridge.inverse.operators.pixelwise import Colour, Mask, box_mask, identity, random_mask
from rebridge.inverse.operators.radon import Radon
from rebridge.inverse.operators.sensing import CompressedSensing
from rebridge.inverse.operators.separable import Separable, average, bicubic, separable_blur

OPERATORS: Catalogue[Operator] = Catalogue(
    "operator",
    {
        "noise": identity,
        "mask": random_mask,
        "known-mask": Mask,
        "box": box_mask,
        "blur": blur,
        "separable-blur": separable_blur,
        "separable": Separable,
        "sr2": partial(bicubic, scale=2),
        "sr4": partial(bicubic, scale=4),
        "sr8": partial(bicubic, scale=8),
        "average2": partial(average, scale=2),
        "average4": partial(average, scale=4),
        "average8": partial(average, scale=8),
        "colour": Colour,
        "cs": CompressedSensing,
        "radon": Radon,
        "jpeg": JPEG,
    },
    fixed=("shape", "measurement_shape"),
    greatest={"angles": 10_000},
)


names = OPERATORS.names
summary = OPERATORS.summary
register = OPERATORS.register


def parameters(name: str) -> list[str]:
    """List an operator's parameters besides the shape; ValueError if unknown."""
    return list(OPERATORS.parameters(name))


def create(name: str, shape: Sequence[int], **params: Any) -> Operator:
    """Build the operator of that name for images of `shape` (C, H, W).

    Such as create("sr4", (3, 64, 64)).

    Raises:
        ValueError: an unknown name or parameter, or a value out of range.
    """
    return OPERATORS.create(name, check_shape(shape), **params)


def parse(text: str, shape: Sequence[int]) -> Operator:
    """Build what a text such as "blur:length=20" describes, for (C, H, W)."""
    spec = Spec.parse(text)
    return create(spec.name, shape, **spec.params)
