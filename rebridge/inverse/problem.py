"""An inverse problem as solvers see it: process, prior, operator and measurement, all in the prior's own range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser
from rebridge.inverse.guidance import check_generative, check_linear, check_measurement, check_sigma
from rebridge.inverse.operators import Measures, Operator, Spectral
from rebridge.inverse.operators.base import Trust

Noise = Callable[[Tensor], Tensor]
Callback = Callable[[int, float, Tensor, Tensor], None]


@dataclass(frozen=True)
class Problem:
    """y = A x + sigma_y n, to be solved with a prior for x.

    bridge: the generative process of the prior. prior: its denoiser; the image y that denoisers are given is all zero here.
    y: measurements (B, ...). network: the module inside the prior, for solvers that adapt it. Raises ValueError or TypeError
    for what does not fit, see `check_measurement`.
    """

    bridge: Bridge
    prior: Denoiser
    operator: Measures
    y: Tensor
    sigma_y: float = 0.0
    network: nn.Module | None = None

    def __post_init__(self) -> None:
        check_generative(self.bridge)
        check_measurement(self.operator, self.y)
        check_sigma(self.sigma_y)

    def blank(self) -> Tensor:
        """Zeros of the images' shape, (B, C, H, W)."""
        shape = getattr(self.operator, "shape", None)
        if shape is None:
            return torch.zeros_like(self.operator.A_adjoint(self.y))
        return self.y.new_zeros(len(self.y), *shape)

    def with_denoiser(self, denoiser: Denoiser) -> Problem:
        """The same problem with another denoiser of the prior."""
        return replace(self, prior=denoiser)

    def row(self, index: int) -> Problem:
        """The problem of one measurement of the batch."""
        return replace(self, y=self.y[index : index + 1])


@dataclass(frozen=True, kw_only=True)
class Solver:
    """A way to solve a `Problem`; subclasses are listed in `rebridge.inverse.catalogue`."""

    name: ClassVar[str]
    linear_only: ClassVar[bool] = False
    """Whether the operator has to be linear."""
    differentiates: ClassVar[bool] = False
    """Whether the prior is differentiated, which costs about two more calls for each."""

    @property
    def calls(self) -> int:
        """How often the prior's network is asked about one image, exactly."""
        raise NotImplementedError

    def __call__(self, problem: Problem, noise: Noise = torch.randn_like, callback: Callback | None = None) -> Tensor:
        """Images (B, C, H, W) in the prior's range.

        noise: supplies every random tensor, in the order drawn. callback: called as (step, t, x_t, x0) as samplers do.
        """
        raise NotImplementedError


class Rescaled(Operator):
    """An operator for images in [0, 1] that is not linear, given images in [low, high]."""

    linear = False

    def __init__(self, operator: Operator, low: float, high: float) -> None:
        super().__init__(operator.shape, operator.measurement_shape)
        self.name = operator.name  # type: ignore[misc]
        self.operator, self.low, self.width = operator, low, high - low

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator.A((x - self.low) / self.width)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.low + self.width * self.operator.A_adjoint(y)

    def _gain(self, r: Tensor, gamma: Trust) -> Tensor:
        return self.low + self.width * self.operator.A_dagger(r)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Trust) -> Tensor:
        """The proximal step of the operator at gamma / width^2, which is the same one in the other units."""
        return self.low + self.width * self.operator.prox_l2((z - self.low) / self.width, y, gamma / self.width**2)


def in_range(
    operator: Any, y: Tensor, sigma_y: float, value_range: tuple[float, float]
) -> tuple[Measures, Tensor, float]:
    """Operator, measurements and noise for images in [low, high], from those for images in [0, 1].

    With x' = low + w x a linear operator stays as it is: y' = A x' = w y + low A 1 and sigma' = w sigma. Raises ValueError and
    TypeError as `check_measurement`.
    """
    check_measurement(operator, y)
    check_sigma(sigma_y)
    low, high = value_range
    if not getattr(operator, "linear", True):
        return Rescaled(operator, low, high), y, sigma_y
    shape = getattr(operator, "shape", None)
    ones = torch.ones_like(operator.A_adjoint(y[:1])) if shape is None else y.new_ones(1, *shape)
    return operator, (high - low) * y + low * operator.A(ones), (high - low) * sigma_y


def solver_of(solver: Solver, steps: int | None = None, params: dict[str, Any] | None = None) -> Solver:
    """A solver with other parameters where there are any."""
    changes = dict(params or {})
    if steps is not None:
        changes["steps"] = steps
    return replace(solver, **changes) if changes else solver


def check_fit(solver: Solver, operator: Any, channels: int) -> None:
    """Raise ValueError where operator, solver and the channels of the prior cannot go together."""
    shape = getattr(operator, "shape", None)
    if shape is not None and shape[0] != channels:
        raise ValueError(f"the operator is for images of {shape[0]} channels, the prior makes {channels}")
    if solver.linear_only:
        check_linear(operator, solver.name)
    if solver.name == "ddrm" and not isinstance(operator, Spectral):
        name = getattr(operator, "name", type(operator).__name__)
        raise ValueError(f"ddrm needs the singular value decomposition of the operator, and {name} has none: use nrlg")
