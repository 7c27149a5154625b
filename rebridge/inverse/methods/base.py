"""Base classes of the zero-shot methods: call, time grid, fitting operators."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.catalogue import check_name
from rebridge.inverse.operators import Operator
from rebridge.inverse.problem import Problem
from rebridge.inverse.smooth import smooth_image
from rebridge.samplers import times as grids
from rebridge.samplers.base import Callback, Noise


class MethodWarning(UserWarning):
    """Warning of a method that reproduces the noise of a problem."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A zero-shot method: called with a `Problem`, it gives images.

    A subclass gives `solve`; for a walk with corrected estimates `GuidedMethod` is the shorter way.

    Args:
        steps: of the default time grid.
        average: number of results that are averaged, each with noise of its own. The mean of draws from the posterior has a
            higher PSNR than any of them, and less texture.
    """

    name: ClassVar[str]
    linear_only: ClassVar[bool] = False
    """True if the operator has to be linear."""
    needs_gradient: ClassVar[bool] = False
    """True if the gradient of |A x - y|^2 has to be known, and no proximal step is used."""
    needs_spectrum: ClassVar[bool] = False
    """True if the operator's singular value decomposition has to be known."""
    differentiates: ClassVar[bool] = False
    """True if the model is differentiated, which costs about two more calls for each."""

    steps: int = 100
    average: int = 1

    def __post_init__(self) -> None:
        check_at_least(1, steps=self.steps, average=self.average)

    @property
    def calls(self) -> int:
        """Evaluations of the network for one image on the default time grid, exactly."""
        return self.average * self.calls_of_one

    @property
    def calls_of_one(self) -> int:
        """Evaluations of the network for one of the results that are averaged."""
        return self.steps

    @torch.no_grad()
    def __call__(
        self,
        problem: Problem,
        *,
        times: Tensor | list[float] | None = None,
        noise: Noise | None = None,
        x: Tensor | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Solve a problem.

        Args:
            problem: in the range of the model's process.
            times: decreasing times in [0, 1] to use instead of the default grid; they end in 0.
            noise: callable like torch.randn_like that supplies every random tensor, in the order drawn.
            x: state (B, C, H, W) to start from at times[0]; by default noise.
            callback: called with (step, t, x_t, x0) after each step, as samplers do.

        Returns:
            Images (B, C, H, W) in the range of the model's process.

        Raises:
            ValueError: the method cannot use the operator, or times or x do not fit.
        """
        self.check(problem.operator)
        if problem.sigma_y > 0 and self.reproduces_noise(problem.operator):
            warnings.warn(
                f"{self.name} fits y of {problem.operator.name} together with its noise, and the result shows it: for noisy "
                "measurements take ddrm, nrlg, pigdm or diffpir",
                MethodWarning,
                stacklevel=2,
            )
        if x is not None and x.shape != problem.blank().shape:
            raise ValueError(f"x must have shape {tuple(problem.blank().shape)}, got {tuple(x.shape)}")
        grid = self.times(problem.process) if times is None else self.check_times(times)
        draw = noise or torch.randn_like
        begin = self.beginning(problem, grid) if x is None else lambda draw: x
        found = self.solve(problem, grid, draw, begin(draw), callback)
        for count in range(1, self.average):
            again = self.solve(problem, grid, draw, begin(draw), callback)
            found = found + (again - found) / (count + 1)
        return found

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        """Solve a checked problem; arguments as in `__call__`, times in float64."""
        raise NotImplementedError

    def beginning(self, problem: Problem, times: Tensor) -> Callable[[Noise], Tensor | None]:
        """Make what draws the state that `solve` starts from.

        None stands for a start of its own.
        """
        return lambda draw: None

    def times(self, process: Bridge) -> Tensor:
        """Make the default time grid, float64, decreasing from 1 to 0."""
        return grids.create("uniform", process, self.steps)

    def check_times(self, times: Tensor | list[float]) -> Tensor:
        """Return times in float64; ValueError unless they decrease within [0, 1]."""
        return grids.check(times)

    def check(self, operator: Operator) -> None:
        """Raise ValueError if the method cannot use the operator."""
        if self.linear_only:
            check_linear(operator, self.name)
        if self.needs_gradient and not operator.has_gradient:
            check_linear(operator, self.name)
        if not (self.needs_gradient or operator.has_prox):
            raise ValueError(
                f"{self.name} needs a proximal step, and of {operator.name} only A is known: use daps or dps"
            )
        if self.needs_spectrum and not operator.has_spectrum:
            raise ValueError(
                f"{self.name} needs the singular value decomposition of the operator, and {operator.name} has none: use nrlg"
            )

    def reproduces_noise(self, operator: Operator) -> bool:
        """Return True if the method fits noisy measurements as if they were exact."""
        return False

    def fits(self, operator: Operator) -> bool:
        """Return True if the method can use the operator."""
        try:
            self.check(operator)
        except ValueError:
            return False
        return True

    def with_settings(self, steps: int | None = None, **params: Any) -> Method:
        """Make the same method with other parameters; steps None keeps its own."""
        changes = params if steps is None else {**params, "steps": steps}
        return replace(self, **changes) if changes else self


@dataclass(frozen=True, kw_only=True)
class GridMethod(Method):
    """A method with a choice of time grids and of the noise that it begins with.

    Args:
        steps: of the default time grid.
        average: see `Method`.
        grid: its name, see `rebridge.samplers.times`.
        begin: standard deviation, for images in [0, 1], of the noise on the first state: the walk begins there, with the image
            that `smooth_image` makes of y instead of with noise alone (as arXiv 2112.05146 begins with another restoration).
            By default all noise of the process.
    """

    grid: str = "uniform"
    begin: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("time grid", self.grid, grids.GRIDS)
        if self.begin is not None:
            check_positive(begin=self.begin)

    def beginning(self, problem: Problem, times: Tensor) -> Callable[[Noise], Tensor | None]:
        """Make what draws the first state, see `begin`."""
        if self.begin is None:
            return super().beginning(problem, times)
        image = smooth_image(problem.operator, problem.y, problem.sigma_y, problem.process.value_range)
        at = problem.process.coefficients(times[0].item())
        return lambda draw: at.alpha.item() * image + at.gamma.item() * draw(image)

    def times(self, process: Bridge) -> Tensor:
        """Make the default time grid, float64, decreasing to 0.

        From 1, or from the time of `begin`.
        """
        return self._first_time(process) * grids.create(self.grid, process, self.steps)

    def _first_time(self, process: Bridge) -> float:
        if self.begin is None:
            return 1.0
        low, high = process.value_range
        least, greatest = process.level_range
        return process.time_of_level(min(max(self.begin * (high - low), least), greatest)).item()


def check_linear(operator: Operator, method: str) -> None:
    """Raise ValueError for a non-linear operator.

    method: that follows the gradient of |y - A x|^2.
    """
    if not operator.linear:
        raise ValueError(f"{method} needs a linear operator; for {operator.name} use ddnm, dds, diffpir or nrlg")


def check_fit(method: Method, operator: Operator, channels: int) -> None:
    """Raise ValueError if operator, method and model cannot go together."""
    if operator.shape[0] != channels:
        raise ValueError(f"the operator is for images of {operator.shape[0]} channels, the prior makes {channels}")
    method.check(operator)


def check_at_least(low: int, **values: int) -> None:
    """Raise ValueError for a named number below `low`."""
    for name, value in values.items():
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")


def check_share(**values: float) -> None:
    """Raise ValueError for a named number outside [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")


def check_positive(**values: float) -> None:
    """Raise ValueError for a named number that is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ValueError for a word that is not among those known."""
    if value not in known:
        text = ", ".join(known[:-1]) + f" or {known[-1]}"
        raise ValueError(f"{name} must be {text}, got {value!r}")
