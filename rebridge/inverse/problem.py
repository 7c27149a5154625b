"""An inverse problem as zero-shot methods see it, in the model's range."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser, as_estimate
from rebridge.inverse.operators import Measures, Operator, as_operator
from rebridge.inverse.operators.base import Trust


@dataclass(frozen=True)
class Problem:
    """y = A x + sigma_y n, to be solved with a pretrained model of x.

    Args:
        process: generative process of the model.
        denoiser: the unconditional model; the degraded image that it is called with is all zero.
        operator: A; one of another library becomes one of ours, see `as_operator`.
        y: measurements (B, ...).
        sigma_y: standard deviation of their noise.
        network: module inside the denoiser, for methods that adapt it.

    Raises:
        ValueError: the process is not generative, y does not fit the operator or holds NaN, or sigma_y is negative.
        TypeError: the operator lacks a method.
    """

    process: Bridge
    denoiser: Denoiser
    operator: Operator
    y: Tensor
    sigma_y: float = 0.0
    network: nn.Module | None = None

    def __init__(
        self,
        process: Bridge,
        denoiser: Denoiser,
        operator: Measures,
        y: Tensor,
        sigma_y: float = 0.0,
        network: nn.Module | None = None,
    ) -> None:
        check_generative(process)
        check_sigma(sigma_y)
        values = (process, denoiser, as_operator(operator, y), y, sigma_y, network)
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)

    @property
    def bridge(self) -> Bridge:
        """Old name of `process`."""
        warnings.warn("Problem.bridge is now Problem.process", DeprecationWarning, stacklevel=2)
        return self.process

    @property
    def prior(self) -> Denoiser:
        """Old name of `denoiser`."""
        warnings.warn("Problem.prior is now Problem.denoiser", DeprecationWarning, stacklevel=2)
        return self.denoiser

    def blank(self) -> Tensor:
        """Make zeros of the images' shape, (B, C, H, W)."""
        return self.y.new_zeros(len(self.y), *self.operator.shape)

    def estimate(self, x_t: Tensor, t: float) -> Tensor:
        """Estimate x0 in states x_t (B, C, H, W) at one time t, by one call."""
        dtype = torch.float64 if x_t.dtype == torch.float64 else torch.float32
        times = torch.full((len(x_t),), t, dtype=dtype, device=x_t.device)
        return as_estimate(self.denoiser(x_t, times, torch.zeros_like(x_t))).x0

    def row(self, index: int) -> Problem:
        """Take the problem of one measurement of the batch."""
        return replace(self, y=self.y[index : index + 1])


class Rescaled(Operator):
    """A non-linear operator for images in [0, 1], given images in [low, high].

    Args:
        operator: for images in [0, 1].
        low: least value of the images given.
        high: greatest value of the images given.
    """

    linear = False

    def __init__(self, operator: Operator, low: float, high: float) -> None:
        super().__init__(operator.shape, operator.measurement_shape)
        self.name = operator.name
        self.operator, self.low, self.width = operator, low, high - low
        self.differentiable, self.has_prox = operator.differentiable, operator.has_prox

    def forward(self, x: Tensor) -> Tensor:
        return self.operator.A((x - self.low) / self.width)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.low + self.width * self.operator.A_adjoint(y)

    def gain(self, r: Tensor, gamma: Trust) -> Tensor:
        return self.low + self.width * self.operator.A_dagger(r)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Trust) -> Tensor:
        """Proximal step, at gamma / width^2 of the operator's own units."""
        return self.low + self.width * self.operator.prox_l2((z - self.low) / self.width, y, gamma / self.width**2)


def in_range(
    operator: Measures, y: Tensor, sigma_y: float, value_range: tuple[float, float]
) -> tuple[Operator, Tensor, float]:
    """Convert a problem for images in [0, 1] to one for images in [low, high].

    With x' = low + w x a linear operator stays as it is: y' = A x' = w y + low A 1 and sigma' = w sigma.

    Args:
        operator: ours or one of another library.
        y: measurements (B, ...) of images in [0, 1].
        sigma_y: standard deviation of their noise.
        value_range: (low, high).

    Returns:
        Operator, measurements and standard deviation for images in [low, high].

    Raises:
        ValueError, TypeError: as `Problem`.
    """
    if not isinstance(y, Tensor):
        raise TypeError(f"measurements must be a torch tensor, got {type(y).__name__}")
    known = as_operator(operator, y)
    check_sigma(sigma_y)
    low, high = value_range
    if not known.linear:
        return Rescaled(known, low, high), y, sigma_y
    ones = y.new_ones(1, *known.shape)
    return known, (high - low) * y + low * known.A(ones), (high - low) * sigma_y


def check_sigma(sigma_y: float) -> None:
    """Raise ValueError unless a standard deviation is a number from 0 up."""
    if not (sigma_y >= 0 and math.isfinite(sigma_y)):
        raise ValueError(f"sigma_y must be a number from 0 up, got {sigma_y}")


def check_generative(process: Bridge) -> None:
    """Raise ValueError unless the process is generative, alpha x0 + gamma eps."""
    if process.coefficients(1.0).beta.item() != 0 or process.modulation != "one":
        raise ValueError(f"a prior needs a generative process (vp, ve, rectified-flow), got {process.name!r}")
