"""The operators by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rebridge.inverse.operators.base import Operator, check_shape
from rebridge.inverse.operators.convolution import blur
from rebridge.inverse.operators.jpeg import JPEG
from rebridge.inverse.operators.pixelwise import Colour, Identity, Mask, box_mask, random_mask
from rebridge.inverse.operators.radon import Radon
from rebridge.inverse.operators.sensing import CompressedSensing
from rebridge.inverse.operators.separable import Separable, average, bicubic, separable_blur
from rebridge.names import check_name, check_parameters, check_values

OPERATORS: dict[str, Callable[..., Operator]] = {
    "noise": Identity,
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
}


def names() -> list[str]:
    """Names of all operators."""
    return list(OPERATORS)


def parameters(name: str) -> list[str]:
    """The parameters of an operator besides the shape of the images; ValueError for an unknown name."""
    check_name("operator", name, OPERATORS)
    build = OPERATORS[name]
    fixed = {"shape", "measurement_shape"} | (set(build.keywords) if isinstance(build, partial) else set())
    if build is Identity:
        fixed.add("cutoff")  # all its singular values are 1
    return [key for key in inspect.signature(build).parameters if key not in fixed]


def create(name: str, shape: Sequence[int], **params: Any) -> Operator:
    """The operator of that name for images of `shape` (C, H, W), such as create("sr4", (3, 64, 64)).

    Raises ValueError for an unknown name or parameter, or a value out of range.
    """
    what, taken = f"operator {name!r}", parameters(name)
    check_parameters(what, params, taken)
    build = OPERATORS[name]
    known = inspect.signature(build).parameters
    for key in taken:
        if key not in params and known[key].default is inspect.Parameter.empty:
            raise ValueError(f"{what} needs {key}, which can be given in Python only")
    check_values(what, params, {key: str(parameter.annotation) for key, parameter in known.items()})
    return build(check_shape(shape), **params)
