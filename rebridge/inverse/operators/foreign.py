"""Operators of other libraries, such as deepinv's, as operators of ours.

Four methods with the same names are enough, and for some methods `A` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rebridge.inverse.operators.base import Measures, Operator, Trust, check_trust

NEEDED = ("A", "A_adjoint", "A_dagger", "prox_l2")


class ForeignOperator(Operator):
    """An operator of another library or of a user's own.

    Its `prox_l2` gets gamma as a plain number, or where that differs within a batch as a tensor (B, 1, 1, 1) of the images' type;
    0 and infinity never reach it.

    Args:
        operator: has the four methods `A`, `A_adjoint`, `A_dagger` and `prox_l2`, as deepinv's `LinearPhysics` has. It
            counts as linear unless it has an attribute `linear` that is False.
        shape: (C, H, W) of the images.
        measurement_shape: of what is measured from one of them.
        dtype: what it is called with; constants of its own, such as a kernel, may have that type only.
    """

    pictured = False

    def __init__(
        self,
        operator: Measures,
        shape: Sequence[int],
        measurement_shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(shape, measurement_shape)
        self.name = type(operator).__name__
        self.linear = bool(getattr(operator, "linear", True))
        self.operator = operator
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.A(x.to(self.dtype)).to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.operator.A_adjoint(y.to(self.dtype)).to(y.dtype)

    def gain(self, r: Tensor, gamma: Trust) -> Tensor:
        return self.prox_l2(r.new_zeros(len(r), *self.shape), r, gamma)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Trust) -> Tensor:
        """Proximal step, see `Operator.prox_l2`.

        It is the other library's own, except for a trust of 0 or infinity. That library is given a number where all images have
        one trust, and else a tensor (B, 1, 1, 1) like the images: nothing that only our own operators could take.
        """
        check_trust(gamma, len(z))
        trust = [float(gamma)] * len(z) if not isinstance(gamma, Tensor) else gamma.double().expand(len(z)).tolist()
        between = [value for value in trust if 0 < value < math.inf]
        result = z
        if between:
            result = self._stepped(z, y, [value if 0 < value < math.inf else between[0] for value in trust])
        if 0.0 in trust:
            result = torch.where(_column([value == 0 for value in trust], z) > 0, z, result)
        if math.inf in trust:
            fitted = z + self.operator.A_dagger((y - self.forward(z)).to(self.dtype)).to(z.dtype)
            result = torch.where(_column([value == math.inf for value in trust], z) > 0, fitted, result)
        return result

    def _stepped(self, z: Tensor, y: Tensor, trust: Sequence[float]) -> Tensor:
        inputs = z.to(self.dtype)
        return self.operator.prox_l2(inputs, y.to(self.dtype), _passed(trust, inputs)).to(z.dtype)


def _passed(trust: Sequence[float], like: Tensor) -> float | Tensor:
    """The trust of each image as others take it: one number, or (B, 1, 1, 1) in the images' type."""
    return trust[0] if len(set(trust)) == 1 else _column(trust, like)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor([float(value) for value in values]).reshape(-1, *[1] * (like.ndim - 1))


class ForwardOperator(Operator):
    """A measurement of which only a differentiable A is known.

    Methods that follow the gradient of |A x - y|^2 can use it: red-diff, dps, daps, pnp-flow.

    Args:
        measure: A, a function or an object with a method `A`.
        shape: (C, H, W) of the images.
        measurement_shape: of what is measured from one of them, by default found by measuring a black image.
    """

    linear = False
    differentiable = True
    has_prox = False
    pictured = False

    def __init__(self, measure: Any, shape: Sequence[int], measurement_shape: Sequence[int] | None = None) -> None:
        call: Callable[[Tensor], Tensor] = measure.A if hasattr(measure, "A") else measure
        found = call(torch.zeros(1, *shape)).shape[1:] if measurement_shape is None else measurement_shape
        super().__init__(shape, found)
        self.name = measure.__name__ if hasattr(measure, "__name__") else type(measure).__name__
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Raise ValueError: there is none."""
        raise ValueError(f"{self.name} has no adjoint: only A is known")

    def gain(self, r: Tensor, gamma: Trust) -> Tensor:
        """Raise ValueError: there is none."""
        raise ValueError(f"{self.name} has no proximal step: only A is known")


def wrap(operator: Any, shape: Sequence[int]) -> Operator:
    """Make an operator of another library one of ours.

    Args:
        operator: ours, which is returned as it is; anything with deepinv's four methods; or a function or an object with `A`
            alone, which may be non-linear.
        shape: (C, H, W) of the images.

    Raises:
        TypeError: neither the four methods nor `A` or a call.
    """
    if isinstance(operator, Operator):
        return operator
    if not _has(operator, "A_adjoint") and (_has(operator, "A") or callable(operator)):
        return ForwardOperator(operator, shape)
    check_methods(operator)
    return ForeignOperator(operator, shape, operator.A(torch.zeros(1, *shape)).shape[1:])


def as_operator(operator: Any, y: Tensor) -> Operator:
    """Make an operator of another library one of ours, by measurements of it.

    y: (B, ...); the shapes are read off it and A^T y, or off an attribute `shape` where the operator has `A` alone.

    Raises:
        TypeError: one of the four methods is missing, or the shape of the images is not known.
        ValueError: y has another shape or type than the operator's measurements, or holds NaN.
    """
    alone = _has(operator, "A") and not _has(operator, "A_adjoint") and hasattr(operator, "shape")
    if not alone:
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
    if alone:
        return ForwardOperator(operator, operator.shape, y.shape[1:])
    return ForeignOperator(operator, operator.A_adjoint(y[:1]).shape[1:], y.shape[1:], y.dtype)


def check_methods(operator: Any) -> None:
    """Raise TypeError for an operator without the four methods."""
    for name in NEEDED:
        if not _has(operator, name):
            alone = "; for A alone use rebridge.inverse.operators.wrap(operator, shape)" if name == NEEDED[1] else ""
            raise TypeError(
                f"an operator needs the methods {', '.join(NEEDED[:3])} and prox_l2; this one lacks {name}{alone}"
            )


def adjoint_test(
    operator: Any, shape: Sequence[int] | None = None, trials: int = 3, generator: torch.Generator | None = None
) -> float:
    """Test if A_adjoint is the transpose of A, as every method assumes.

    Args:
        operator: ours, or one with `A` and `A_adjoint`.
        shape: (C, H, W) of the images, where the operator has no attribute `shape`.
        trials: number of random pairs x, y.
        generator: of the pairs.

    Returns:
        The largest |<A x, y> - <x, A^T y>| relative to |A x| |y|, in double precision: 1e-6 and below is right, anything of the
        order of 1 is not.

    Raises:
        ValueError: the shape is not known, or A^T y has another shape than x.
    """
    size = tuple(operator.shape) if shape is None and hasattr(operator, "shape") else shape
    if size is None:
        raise ValueError("the operator does not say the shape of its images: give shape=(C, H, W)")
    worst = 0.0
    for _ in range(trials):
        x = torch.randn(1, *size, generator=generator, dtype=torch.float64)
        measured = operator.A(x)
        y = torch.randn(measured.shape, generator=generator, dtype=torch.float64)
        back = operator.A_adjoint(y)
        if back.shape != x.shape:
            raise ValueError(f"A_adjoint gives {tuple(back.shape)} for images of {tuple(x.shape)}")
        scale = (measured.norm() * y.norm()).clamp(min=1e-300)
        worst = max(worst, (((measured * y).sum() - (x * back).sum()).abs() / scale).item())
    return worst


def _has(operator: Any, name: str) -> bool:
    return hasattr(operator, name) and callable(getattr(operator, name))
