"""Conjugate gradients for the gain of a linear operator (CGLS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rebridge.inverse.operators.base import Linear


def cgls(operator: Linear, r: Tensor, gamma: Tensor) -> Tensor:
    """Compute A^T (I/gamma + A A^T)^+ r by conjugate gradients started at 0.

    It works in double precision, since small singular values would drown in rounding errors, and stops, for gamma = inf,
    where the data are fitted or nothing more of them can be. Hestenes and Stiefel 1952, damped as by Paige and Saunders 1982.

    Args:
        operator: gives A, A^T, the preconditioner and the tolerances.
        r: (B, *measurement_shape).
        gamma: (B,) in [0, inf].

    Returns:
        Images (B, C, H, W).
    """
    damping = torch.where(gamma > 0, 1 / gamma, 1.0).reshape(-1, 1, 1, 1)
    damped = bool((damping > 0).all())
    rest = r.double()
    damping = damping.to(rest.dtype)
    tiny = torch.finfo(rest.dtype).tiny
    tolerance = max(operator.tolerance, 4 * torch.finfo(r.dtype).eps)
    gradient = operator.A_adjoint(rest)
    x = torch.zeros_like(gradient)
    direction = operator.precondition(gradient, damping) if damped else gradient
    energy = _dot(gradient, direction)
    first_rest, first_gradient = _dot(rest, rest), _dot(gradient, gradient)
    active = (gamma > 0) & (first_gradient > 0)
    for _ in range(operator.iterations):
        image = operator.A(direction)
        curvature = _dot(image, image) + damping.flatten() * _dot(direction, direction)
        step = torch.where(active, energy / curvature.clamp(min=tiny), 0.0)
        x = x + _column(step, x) * direction
        rest = rest - _column(step, rest) * image
        gradient = operator.A_adjoint(rest) - damping * x
        size, misfit = _dot(gradient, gradient), _dot(rest, rest)
        if damped:
            active = active & (size > tolerance**2 * first_gradient)
        else:  # a small gradient alone may hide a large misfit along small singular values
            unfitted = misfit > operator.fit**2 * first_rest
            active = (
                active & unfitted & (size * first_rest > (1e-2 * operator.tolerance) ** 2 * first_gradient * misfit)
            )
        if not active.any():
            break
        following = operator.precondition(gradient, damping) if damped else gradient
        energy_next = _dot(gradient, following)
        direction = following + _column(energy_next / energy.clamp(min=tiny), x) * direction
        energy = energy_next
    return x.to(r.dtype)


def _column(scalar: Tensor, like: Tensor) -> Tensor:
    return scalar.reshape(-1, *[1] * (like.ndim - 1))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)
