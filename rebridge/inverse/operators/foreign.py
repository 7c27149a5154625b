"""Operators of other libraries, such as deepinv's, as operators of ours.

Four methods with the same names are enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rebridge.inverse.operators.base import Measures, Operator, Trust, check_trust

NEEDED = ("A", "A_adjoint", "A_dagger", "prox_l2")


class ForeignOperator(Operator):
    """An operator of another library or of a user's own.

    Args:
        operator: has the four methods `A`, `A_adjoint`, `A_dagger` and `prox_l2`, as deepinv's `LinearPhysics` has. It
            counts as linear unless it has an attribute `linear` that is False.
        shape: (C, H, W) of the images.
        measurement_shape: of what is measured from one of them.
    """

    pictured = False

    def __init__(self, operator: Measures, shape: Sequence[int], measurement_shape: Sequence[int]) -> None:
        super().__init__(shape, measurement_shape)
        self.name = type(operator).__name__
        self.linear = bool(getattr(operator, "linear", True))
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.A(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.A_adjoint(y)

    def gain(self, r: Tensor, gamma: Trust) -> Tensor:
        if not isinstance(gamma, Tensor) and gamma == math.inf:
            return self.operator.A_dagger(r)
        return self.operator.prox_l2(r.new_zeros(len(r), *self.shape), r, gamma)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Trust) -> Tensor:
        """Proximal step, see `Operator.prox_l2`.

        It is the other library's own, except for infinite trust.
        """
        check_trust(gamma, len(z))
        if not isinstance(gamma, Tensor) and gamma == math.inf:  # which another library's prox_l2 may not take
            return z + self.operator.A_dagger(y - self.operator.A(z))
        return self.operator.prox_l2(z, y, gamma)


def wrap(operator: Measures, shape: Sequence[int]) -> Operator:
    """Make an operator of another library one of ours.

    Args:
        operator: ours, which is returned as it is, or anything with deepinv's four methods.
        shape: (C, H, W) of the images.

    Raises:
        TypeError: one of the four methods is missing.
    """
    check_methods(operator)
    if isinstance(operator, Operator):
        return operator
    return ForeignOperator(operator, shape, operator.A(torch.zeros(1, *shape)).shape[1:])


def as_operator(operator: Any, y: Tensor) -> Operator:
    """Make an operator of another library one of ours, by measurements of it.

    y: (B, ...); the shapes are read off it and A^T y.

    Raises:
        TypeError: one of the four methods is missing.
        ValueError: y has another shape or type than the operator's measurements, or holds NaN.
    """
    check_methods(operator)
    if isinstance(operator, Operator) and tuple(y.shape[1:]) != operator.measurement_shape:
        numbers = ", ".join(str(n) for n in operator.measurement_shape)
        raise ValueError(f"the operator gives measurements of shape (B, {numbers}), got {tuple(y.shape)}")
    if not y.is_floating_point():
        raise ValueError(f"the measurement must be of a floating-point type, got {y.dtype}")
    if not torch.isfinite(y).all():
        raise ValueError("the measurement holds NaN or infinite values")
    if isinstance(operator, Operator):
        return operator
    return ForeignOperator(operator, operator.A_adjoint(y[:1]).shape[1:], y.shape[1:])


def check_methods(operator: Any) -> None:
    """Raise TypeError for an operator without the four methods."""
    for name in NEEDED:
        if not (hasattr(operator, name) and callable(getattr(operator, name))):
            raise TypeError(f"an operator needs the methods {', '.join(NEEDED[:3])} and prox_l2; this one lacks {name}")
