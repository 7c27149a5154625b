"""The linear inverse problem with a Gaussian prior, whose posterior is known.

It is the truth that methods are held against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from rebridge.bridges import Bridge
from rebridge.denoisers import GaussianDenoiser
from rebridge.inverse.methods.guided import Reuse, State
from rebridge.inverse.operators import Operator


@dataclass(frozen=True)
class GaussianProblem:
    """y = A x + sigma_y n with x ~ N(mean, covariance).

    Images are flattened to d numbers; all is in float64.

    Args:
        process: the generative process of the model.
        operator: A, linear.
        mean: (d,).
        covariance: (d, d).
        sigma_y: standard deviation of the noise.
    """

    process: Bridge
    operator: Operator
    mean: Tensor
    covariance: Tensor
    sigma_y: float

    @cached_property
    def denoiser(self) -> GaussianDenoiser:
        """E[x0 | x_t], exact; the image y of its calls is ignored."""
        d = len(self.mean)
        joint = torch.block_diag(self.covariance, torch.eye(d, dtype=torch.float64))
        return GaussianDenoiser(self.process, torch.cat([self.mean, torch.zeros_like(self.mean)]), joint)

    @cached_property
    def network(self) -> GaussianNetwork:
        """The same denoiser as a network with weights, for methods that adapt them."""
        return GaussianNetwork(self.process, self.mean, self.covariance)

    @cached_property
    def matrix(self) -> Tensor:
        """A as a matrix (m, d)."""
        d = len(self.mean)
        units = torch.eye(d, dtype=torch.float64).reshape(d, *self.operator.shape)
        return self.operator.A(units).flatten(1).T.contiguous()

    def draw(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw images (count, C, H, W) from the prior, and noisy measurements of them."""
        factor = torch.linalg.cholesky(self.covariance)
        white = torch.randn(count, len(self.mean), generator=generator, dtype=torch.float64)
        x = (self.mean + white @ factor.T).reshape(count, *self.operator.shape)
        measured = self.operator.A(x)
        noise = torch.randn(measured.shape, generator=generator, dtype=torch.float64)
        return x, measured + self.sigma_y * noise

    def posterior(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the means (B, C, H, W) for y (B, ...), and the covariance (d, d)."""
        gain, covariance = self._update(self.covariance)
        means = self.mean + (y.flatten(1) - self.mean @ self.matrix.T) @ gain.T
        return means.reshape(-1, *self.operator.shape), covariance

    def guidance(self, y: Tensor, reuse: Reuse = "refined") -> ExactGuidance:
        """Make the guidance with the true covariance of x0 given x_t.

        Its x0~ is E[x0 | x_t, y].
        """
        return ExactGuidance(self._gain_at, self.operator, y, reuse)

    def _update(self, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the Kalman gain (d, m) for a prior covariance, and the covariance after it."""
        cross = covariance @ self.matrix.T
        noise = self.sigma_y**2 * torch.eye(len(self.matrix), dtype=torch.float64)
        gain = torch.linalg.solve(self.matrix @ cross + noise, cross.T).T
        return gain, covariance - gain @ cross.T

    def _gain_at(self, state: State) -> Tensor:
        """Compute the gain for Var[x0 | x_t] = b^2 C (a^2 C + b^2 I)^-1 at each row's time, (B, d, m)."""
        times, row = torch.unique(torch.stack([state.at.alpha, state.at.gamma], 1), dim=0, return_inverse=True)
        identity = torch.eye(len(self.mean), dtype=torch.float64)
        gains = []
        for a, b in times.tolist():
            variance = torch.linalg.solve(a**2 * self.covariance + b**2 * identity, b**2 * self.covariance)
            gains.append(self._update((variance + variance.T) / 2)[0])
        return torch.stack(gains)[row]


class GaussianNetwork(nn.Module):
    """E[x0 | x_t] as two linear layers with a gain between them.

    m + V s a/(a^2 s + b^2) V^T (x_t - a m) with the covariance C = V s V^T and the mean m.

    Args:
        process: the generative process.
        mean: m, (d,).
        covariance: C, (d, d).
    """

    def __init__(self, process: Bridge, mean: Tensor, covariance: Tensor) -> None:
        super().__init__()
        sizes, vectors = torch.linalg.eigh(covariance)
        d = len(mean)
        self.process, self.mean, self.sizes = process, mean, sizes
        self.enter = nn.Linear(d, d, bias=False, dtype=torch.float64)
        self.leave = nn.Linear(d, d, bias=False, dtype=torch.float64)
        with torch.no_grad():
            self.enter.weight.copy_(vectors.T)
            self.leave.weight.copy_(vectors)
        self.requires_grad_(False)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Estimate x0 for states x_t (B, C, H, W) at times t (B,); y is ignored."""
        at = self.process.coefficients(t)
        a, b = at.alpha[:, None], at.gamma[:, None]
        gain = a * self.sizes / (a.square() * self.sizes + b.square())
        flat = self.leave(gain * self.enter(x_t.flatten(1) - a * self.mean))
        return (self.mean + flat).reshape(x_t.shape)


@dataclass(frozen=True)
class ExactGuidance:
    """Guidance that is exact for a Gaussian prior.

    x0~ = x0_hat + V A^T (s_y^2 I + A V A^T)^-1 (y - A x0_hat) with V = Var[x0 | x_t].

    Args:
        gain: V A^T (s_y^2 I + A V A^T)^-1 in a state, (B, d, m).
        operator: A.
        y: measurements (B, ...).
        reuse: which noise the next step of the walk reuses.
    """

    gain: Callable[[State], Tensor]
    operator: Operator
    y: Tensor
    reuse: Reuse = "refined"

    def clean(self, denoise: Callable[[Tensor], Tensor], state: State) -> tuple[Tensor, Tensor]:
        """Correct the estimate in a state, see `rebridge.inverse.methods.Guidance`."""
        x0_hat = denoise(state.x_t)
        rest = (self.y - self.operator.A(x0_hat)).flatten(1)
        return x0_hat, x0_hat + torch.einsum("bij,bj->bi", self.gain(state), rest).reshape(x0_hat.shape)
