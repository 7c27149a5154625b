"""PnP-Flow (arXiv 2410.02423): gradient steps between denoised draws.

For t from 1 down, in the time of a straight path (n / (1 + n) in any other process, n = b/a its noise-to-signal ratio),

    z = x - lr t^power / |A|^2 A^T (A x - y),        x = mean over `samples` draws of x0_hat(a z + b eps)

The authors' steps are not divided by |A|^2, the square of the largest singular value; it is 1 for their inpainting and
deblurring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from rebridge.inverse.methods.base import GridMethod, check_at_least, check_positive
from rebridge.inverse.operators import Operator
from rebridge.inverse.problem import Problem
from rebridge.inverse.smooth import smooth_image
from rebridge.samplers.base import Callback, Noise, Walk


@dataclass(frozen=True, kw_only=True)
class PnPFlow(GridMethod):
    """Plug-and-play with a flow: gradient steps between draws of the denoised path.

    arXiv 2410.02423; takes non-linear operators of which only a differentiable A is known. `x` of a call is the image to start
    from, which at t = 1 is of no account.

    Args:
        steps: of the default time grid.
        grid: its name, see `rebridge.samplers.times`.
        samples: draws that are averaged in each step, one call each; 5 in the authors' settings.
        lr: of the gradient steps, relative to 1 / |A|^2; 1 in the authors' settings.
        power: of t, by which the gradient steps fall; 0.01 to 1 in the authors' settings.
        normalise: False takes lr as it is, as the authors' code does.
    """

    name: ClassVar[str] = "pnp-flow"
    needs_gradient: ClassVar[bool] = True

    samples: int = 1
    lr: float = 1.0
    power: float = 1.0
    normalise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, samples=self.samples)
        check_positive(lr=self.lr)
        if self.power < 0:
            raise ValueError(f"power must be at least 0, got {self.power}")

    @property
    def calls_of_one(self) -> int:
        """Evaluations of the network for one of the results that are averaged, exactly."""
        return self.steps * self.samples

    def beginning(self, problem: Problem, times: Tensor) -> Callable[[Noise], Tensor | None]:
        """Give what makes the image that the method starts from."""
        if self.begin is None:
            return super().beginning(problem, times)
        image = smooth_image(problem.operator, problem.y, problem.sigma_y, problem.process.value_range)
        return lambda draw: image

    def solve(
        self, problem: Problem, times: Tensor, noise: Noise, x: Tensor | None, callback: Callback | None
    ) -> Tensor:
        walk = Walk(problem.process, problem.denoiser, problem.blank(), noise)
        if x is None:
            x = problem.blank()
        lr = self.lr / squared_norm(problem.operator, x) if self.normalise else self.lr
        for i, (t, _) in enumerate(pairwise(walk.points(times))):
            rest = t.gamma / (t.alpha + t.gamma)
            z = x - lr * rest**self.power * problem.operator.misfit_gradient(x, problem.y)
            x = torch.zeros_like(z)
            for _ in range(self.samples):
                x_t = t.alpha * z + t.gamma * walk.noise()
                x = x + walk.estimate(x_t, t).x0 / self.samples
            if callback is not None:
                callback(i, t.t, x_t, x)
        return x


def squared_norm(operator: Operator, like: Tensor, iterations: int = 20) -> float:
    """Estimate |A|^2, the square of the largest singular value.

    By power iteration; 1 for a non-linear operator.

    Args:
        operator: A.
        like: images (B, C, H, W), for type and device.
        iterations: of A^T A.
    """
    if not operator.linear:
        return 1.0
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(1, *operator.shape, generator=generator, dtype=torch.float64).to(like)
    size = 1.0
    for _ in range(iterations):
        v = operator.A_adjoint(operator.A(v / v.norm()))
        size = v.norm().item()
        if size == 0:
            return 1.0
    return size
