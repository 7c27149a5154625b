"""The factors of a process at some times, and how they meet images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Coefficients:
    """Factors of x0, y and modulation * eps at some times.

    Attributes:
        alpha: factor of x0; all three are float64 tensors of one shape, that of the times.
        beta: factor of y.
        gamma: factor of modulation * eps.
    """

    alpha: Tensor
    beta: Tensor
    gamma: Tensor

    def like(self, x: Tensor) -> Coefficients:
        """Shape factors of shape (B,) as (B, 1, 1, ...), in x's dtype and on its device."""
        return Coefficients(*(per_image(c.to(x.device, x.dtype), x.ndim) for c in (self.alpha, self.beta, self.gamma)))


def per_image(values: Tensor, dimensions: int) -> Tensor:
    """Shape one value per image, (B,), as (B, 1, 1, ...) with that many dimensions."""
    return values.reshape(-1, *[1] * (dimensions - 1))


def shown(value: Tensor) -> str:
    """Format a number, or the range of several, for an error message."""
    low, high = value.min().item(), value.max().item()
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
