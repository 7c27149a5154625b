"""RED-diff (arXiv 2305.04391): gradient descent on the image.

The model regularises it, at one noise level a step.

For t from 1 down, with x_t = a mu + b n and eps = the model's noise in x_t (never differentiated), one optimiser step on

    v mean((y - A mu)^2)/2 + w_t mean(<eps - n, mu>),      w_t = weight f(b/a)

as in the authors' loop. Both terms are means, over measured values and over pixels, so their balance depends on the ratio of
the two counts: an operator that measures a sixteenth of the pixels has each of them count 16 times more. Unknown pixels of a mask
are not measured, as with the authors' `Inpainting`; their `in2` tasks count them too, which is `mean="all"`. Means are
taken image by image, so that a result does not depend on its batch.

What comes back is mu after the last step; the authors' code returns the image that its last step was taken from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.inverse.methods.base import Method, check_choice, check_positive
from rebridge.inverse.operators import Operator
from rebridge.inverse.problem import Problem
from rebridge.samplers.base import Callback, Noise

WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda ratio: ratio,
    "sqrt": lambda ratio: ratio.sqrt(),
    "square": lambda ratio: ratio.square(),
    "log": lambda ratio: torch.log(ratio + 1),
    "trunc-linear": lambda ratio: ratio.clamp(max=1.0),
    "power2over3": lambda ratio: ratio ** (2 / 3),
    "const": lambda ratio: torch.ones_like(ratio),
}
"""f of the noise-to-signal ratio b/a, the authors' names."""


@dataclass(frozen=True, kw_only=True)
class REDDiff(Method):
    """Variational restoration by gradient descent on the image (arXiv 2305.04391).

    It samples nothing, so it has next to no diversity. `times` of a call are the times of its steps: they may repeat and need
    not decrease, and a last time of 0 takes no step. `x` of a call is the image to start from, by default A^+ y.

    Args:
        steps: one call each, at times from 1 down to 1/steps.
        weight: of the prior, w_t = weight f(b/a).
        weighting: name of f, see `WEIGHTINGS`.
        data_weight: v, weight of the measurement.
        optimiser: "adam" (betas 0.9, 0.99) or "sgd" (momentum 0.9).
        lr: by default 0.1 for Adam, and 0.1 times the number of measured values for SGD, since the loss is a mean over them.
        sigma_x0: standard deviation of mu itself, 0 in the authors' settings.
        mean: the squared misfit is a mean over the values that are "measured", or over "all" of y.
        start: the image to begin with, "pseudo-inverse" for A^+ y, or "damped" for the proximal step from 0 with the trust
            1 / s_y^2, which leaves noise small; zeros where the operator has neither.
        last: the result, "mu" after the last step, or "sample" for the image x0 that this step was taken from.
    """

    name: ClassVar[str] = "red-diff"
    needs_gradient: ClassVar[bool] = True

    weight: float = 0.25
    weighting: str = "linear"
    data_weight: float = 1.0
    optimiser: Literal["adam", "sgd"] = "adam"
    lr: float | None = None
    sigma_x0: float = 0.0
    mean: Literal["measured", "all"] = "measured"
    start: Literal["pseudo-inverse", "damped"] = "pseudo-inverse"
    last: Literal["mu", "sample"] = "mu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}, got {self.weighting!r}")
        check_choice("optimiser", self.optimiser, ("adam", "sgd"))
        check_choice("mean", self.mean, ("measured", "all"))
        check_choice("start", self.start, ("pseudo-inverse", "damped"))
        check_choice("last", self.last, ("mu", "sample"))
        if self.lr is not None:
            check_positive(lr=self.lr)
        if self.weight < 0 or self.data_weight < 0 or self.sigma_x0 < 0:
            raise ValueError("weight, data_weight and sigma_x0 must be at least 0")

    def times(self, process: Bridge) -> Tensor:
        """Make the default times of the steps, from 1 down to 1/steps, and 0."""
        return torch.linspace(1, 0, self.steps + 1).double()

    def check_times(self, times: Tensor | list[float]) -> Tensor:
        """Return times in float64; ValueError outside (0, 1], but for a last 0."""
        grid = torch.as_tensor(times, dtype=torch.float64).cpu()
        steps = grid[:-1] if len(grid) and grid[-1] == 0 else grid
        if grid.ndim != 1 or len(steps) < 1 or not ((steps > 0) & (steps <= 1)).all():
            raise ValueError("times must lie in (0, 1], with 0 at the end or nowhere")
        return grid

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        operator, y = problem.operator, problem.y
        mu = self._begun(problem) if x is None else x.clone()
        count = operator.measured if self.mean == "measured" else y[0].numel()
        optimiser = self._optimiser(mu, count)
        grid = times[:-1] if times[-1] == 0 else times
        at = problem.process.coefficients(grid)
        weights = self.weight * WEIGHTINGS[self.weighting](at.gamma / at.alpha)
        rows = torch.stack([grid, at.alpha, at.gamma, weights], 1).tolist()
        x0 = mu
        for i, (t, a, b, w) in enumerate(rows):
            x0 = mu + self.sigma_x0 * noise(mu) if self.sigma_x0 > 0 else mu.clone()
            n = noise(mu)
            x_t = a * x0 + b * n
            eps = (x_t - a * problem.estimate(x_t, t)) / b
            pull = operator.misfit_gradient(x0, y) * (self.data_weight / count)
            mu.grad = pull + (eps - n) * (w / mu[0].numel())
            optimiser.step()
            if callback is not None:
                callback(i, t, x_t, mu)
        mu.grad = None
        return mu if self.last == "mu" else x0

    def reproduces_noise(self, operator: Operator) -> bool:
        return self.start == "pseudo-inverse" and operator.has_prox and operator.amplifies

    def _begun(self, problem: Problem) -> Tensor:
        """The image to start from."""
        operator, y, sigma = problem.operator, problem.y, problem.sigma_y
        if not operator.has_prox:
            return problem.blank()
        if self.start == "damped" and sigma > 0:
            return operator.prox_l2(problem.blank(), y, 1 / sigma**2)
        return operator.A_dagger(y)

    def _optimiser(self, mu: Tensor, measured: int) -> torch.optim.Optimizer:
        if self.optimiser == "adam":
            return torch.optim.Adam([mu], lr=self.lr or 0.1, betas=(0.9, 0.99))
        return torch.optim.SGD([mu], lr=self.lr or 0.1 * measured, momentum=0.9)
