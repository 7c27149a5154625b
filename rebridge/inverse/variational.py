"""RED-diff (arXiv 2305.04391): the image is a point that gradient steps move, the prior regularises it at one noise level a step.

For t from 1 down, with x_t = a mu + b n and eps = the prior's noise in x_t (never differentiated), one optimiser step on

    v mean((y - A mu)^2)/2 + w_t mean(<eps - n, mu>),      w_t = weight f(b/a)

as in the authors' loop. Both terms are means, over measured numbers and over pixels, so their balance depends on the ratio of
the two counts: an operator that measures a sixteenth of the pixels has each of them count 16 times more. Means are taken image
by image, so that a result does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rebridge.denoisers import as_estimate
from rebridge.inverse.guidance import check_linear
from rebridge.inverse.problem import Callback, Noise, Problem, Solver

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
class REDDiff(Solver):
    """Variational restoration by gradient descent on the image; without sampling, so it has next to no diversity.

    steps: one call each. weight, weighting: of the prior, w_t = weight f(b/a). data_weight: v. optimiser: "adam" (betas 0.9,
    0.99) or "sgd" (momentum 0.9). lr: by default 0.1 for Adam, and 0.1 times the number of measured values for SGD, since the
    loss is a mean over them. sigma_x0: standard deviation of mu itself, 0 in the authors' settings.
    times: to use instead of a uniform grid from 1 down to 1/steps; they may repeat and need not decrease.
    """

    name: ClassVar[str] = "red-diff"
    linear_only: ClassVar[bool] = True

    steps: int = 100
    weight: float = 0.25
    weighting: str = "linear"
    data_weight: float = 1.0
    optimiser: Literal["adam", "sgd"] = "adam"
    lr: float | None = None
    sigma_x0: float = 0.0
    times: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}, got {self.weighting!r}")
        if self.optimiser not in ("adam", "sgd"):
            raise ValueError(f"optimiser must be adam or sgd, got {self.optimiser!r}")
        if self.lr is not None and not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
        if self.weight < 0 or self.data_weight < 0 or self.sigma_x0 < 0:
            raise ValueError("weight, data_weight and sigma_x0 must be at least 0")
        if self.times is not None and not all(0 < t <= 1 for t in self.times):
            raise ValueError("times must lie in (0, 1]")

    @property
    def calls(self) -> int:
        return self.steps if self.times is None else len(self.times)

    @torch.no_grad()
    def __call__(self, problem: Problem, noise: Noise = torch.randn_like, callback: Callback | None = None) -> Tensor:
        check_linear(problem.operator, self.name)
        operator, y = problem.operator, problem.y
        mu = operator.A_dagger(y)
        optimiser = self._optimiser(mu, y[0].numel())
        zeros = torch.zeros_like(mu)
        grid = torch.linspace(1, 0, self.steps + 1)[:-1] if self.times is None else torch.tensor(list(self.times))
        at = problem.bridge.coefficients(grid.double())
        weights = self.weight * WEIGHTINGS[self.weighting](at.gamma / at.alpha)
        rows = torch.stack([grid.double(), at.alpha, at.gamma, weights], 1).tolist()
        for i, (t, a, b, w) in enumerate(rows):
            x0 = mu + self.sigma_x0 * noise(mu) if self.sigma_x0 > 0 else mu
            n = noise(mu)
            x_t = a * x0 + b * n
            time = torch.full((len(mu),), t, dtype=torch.float64 if mu.dtype == torch.float64 else torch.float32)
            x0_hat = as_estimate(problem.prior(x_t, time.to(mu.device), zeros)).x0
            eps = (x_t - a * x0_hat) / b
            pull = operator.A_adjoint(operator.A(x0) - y) * (self.data_weight / y[0].numel())
            mu.grad = pull + (eps - n) * (w / mu[0].numel())
            optimiser.step()
            if callback is not None:
                callback(i, t, x_t, mu)
        mu.grad = None
        return mu

    def _optimiser(self, mu: Tensor, measured: int) -> torch.optim.Optimizer:
        if self.optimiser == "adam":
            return torch.optim.Adam([mu], lr=self.lr or 0.1, betas=(0.9, 0.99))
        return torch.optim.SGD([mu], lr=self.lr or 0.1 * measured, momentum=0.9)
