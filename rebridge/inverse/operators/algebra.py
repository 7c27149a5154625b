"""Operators made of others: compositions A @ B, and stacks A | B.

Both have the adjoint in closed form; the pseudo-inverse and the proximal step come from conjugate gradients, see `Linear`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rebridge.inverse.operators.base import Linear, Measures, Operator
from rebridge.inverse.operators.foreign import ForeignOperator, check_methods, wrap


class Composed(Linear):
    """Composition of two linear operators, y = A B x.

    Args:
        outer: A, for images of the shape of what `inner` measures.
        inner: B.
    """

    channelwise = False

    def __init__(self, outer: Operator, inner: Operator) -> None:
        _check_linear(outer, inner)
        if outer.shape != inner.measurement_shape:
            raise ValueError(
                f"{outer.name} @ {inner.name}: {inner.name} measures {_by(inner.measurement_shape)}, "
                f"and {outer.name} is for images of {_by(outer.shape)}"
            )
        super().__init__(inner.shape, outer.measurement_shape)
        self.outer, self.inner = outer, inner
        self.name = f"{outer.name} @ {inner.name}"
        self.pictured = outer.pictured and inner.pictured
        self.loses_colour = outer.loses_colour or inner.loses_colour
        self.scale = outer.scale * inner.scale

    def forward(self, x: Tensor) -> Tensor:
        return self.outer.A(self.inner.A(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.A_adjoint(self.outer.A_adjoint(y))

    def to_picture(self, y: Tensor) -> Tensor | None:
        """Show measurements as the two operators do, one after the other."""
        shown = self.outer.to_picture(y) if self.pictured else None
        return None if shown is None else self.inner.to_picture(shown)

    def from_picture(self, pixels: Tensor) -> Tensor:
        """Read measurements as the outer operator does."""
        return self.outer.from_picture(pixels) if self.pictured else super().from_picture(pixels)

    def restrict(self, y: Tensor) -> Tensor:
        """Drop what the outer operator does not measure."""
        return self.outer.restrict(y)


class Stacked(Linear):
    """Several linear operators that measure the same image.

    y is all their measurements, flattened, (B, m).

    Args:
        parts: operators for images of one shape.
    """

    channelwise = False
    pictured = False

    def __init__(self, parts: Sequence[Operator]) -> None:
        _check_linear(*parts)
        shapes = {part.shape for part in parts}
        if len(shapes) != 1:
            found = ", ".join(f"{part.name} for {_by(part.shape)}" for part in parts)
            raise ValueError(f"stacked operators are for images of one shape, got {found or 'none'}")
        self.sizes = [math.prod(part.measurement_shape) for part in parts]
        super().__init__(parts[0].shape, (sum(self.sizes),))
        self.parts = list(parts)
        self.name = " | ".join(part.name for part in parts)
        self.loses_colour = all(part.loses_colour for part in parts)

    def join(self, measured: Sequence[Tensor]) -> Tensor:
        """Put the measurements (B, ...) of all parts into one tensor (B, m)."""
        return torch.cat([y.flatten(1) for y in measured], 1)

    def split(self, y: Tensor) -> list[Tensor]:
        """Take the measurements of each part, in their own shapes, out of y (B, m)."""
        pieces = y.split(self.sizes, 1)
        return [piece.unflatten(1, part.measurement_shape) for piece, part in zip(pieces, self.parts, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        return self.join([part.A(x) for part in self.parts])

    def adjoint(self, y: Tensor) -> Tensor:
        images = [part.A_adjoint(piece) for part, piece in zip(self.parts, self.split(y), strict=True)]
        return torch.stack(images).sum(0)

    def restrict(self, y: Tensor) -> Tensor:
        """Drop what the parts do not measure."""
        return self.join([part.restrict(piece) for part, piece in zip(self.parts, self.split(y), strict=True)])


def compose(outer: Measures, inner: Measures) -> Operator:
    """Compose two linear operators, (A @ B) x = A (B x).

    Args:
        outer: A; ours or, if `inner` is ours, one of another library.
        inner: B; ours or, if `outer` is ours, one of another library.

    Returns:
        An operator in closed form if there is one (two separable operators are a separable one), else a `Composed`.

    Raises:
        ValueError: the shapes do not fit, one of the two is not linear, or neither is ours (see `wrap`).
    """
    if isinstance(inner, Operator):
        inside, outside = inner, wrap(outer, inner.measurement_shape)
    elif isinstance(outer, Operator):
        check_methods(inner)
        shape = inner.A_adjoint(torch.zeros(1, *outer.shape)).shape[1:]
        inside, outside = ForeignOperator(inner, shape, outer.shape), outer
    else:
        raise ValueError("the shape of the images is not known: use rebridge.inverse.operators.wrap on one of the two")
    return outside.after(inside) or Composed(outside, inside)


def stack(parts: Sequence[Measures]) -> Stacked:
    """Stack linear operators on the same images.

    y is all measurements, flattened and concatenated, (B, m).

    Args:
        parts: at least one of them ours, the others may be of another library.

    Raises:
        ValueError: the shapes differ, an operator is not linear, or none is ours (see `wrap`).
    """
    shapes = [part.shape for part in parts if isinstance(part, Operator)]
    if not shapes:
        raise ValueError("the shape of the images is not known: use rebridge.inverse.operators.wrap on one of them")
    flat: list[Operator] = []
    for part in parts:
        flat += part.parts if isinstance(part, Stacked) else [wrap(part, shapes[0])]
    return Stacked(flat)


def _check_linear(*parts: Operator) -> None:
    for part in parts:
        if not part.linear:
            raise ValueError(f"only linear operators can be composed or stacked, and {part.name} is not linear")


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)
