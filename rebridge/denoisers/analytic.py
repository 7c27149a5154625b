"""Exact posteriors: the reference for bridges and samplers.

Gaussian and mixture: the pair (x0, y), flattened to d + d numbers, is a mixture of Gaussians. Given y, component k of x0 is
N(m_k(y), S_k), and with x_t - beta y = alpha x0 + gamma eps

    E[x0 | x_t, y, k] = m_k + alpha S_k (alpha^2 S_k + gamma^2 I)^-1 (x_t - beta y - alpha m_k)

averaged over k with the weights p(k | x_t, y). Residual: every pixel's residual r = x0 - y is one scalar mixture, and under
residual modulation x_t - (alpha + beta) y = r (alpha + gamma eps), whose posterior mean is a one-dimensional integral.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.bridges.coefficients import per_image


class MixtureDenoiser:
    """E[x0 | x_t, y] for a mixture of Gaussian joints of (x0, y).

    The modulation must be "one" or "zero". Images are flattened to d = C H W values.

    Args:
        bridge: the process that x_t belongs to.
        weights: (K,), positive; all three tensors are float64.
        means: (K, 2 d), x0 first, then y.
        covariances: (K, 2 d, 2 d), positive semi-definite.

    Raises:
        ValueError: shapes that do not fit, or residual modulation, which is not Gaussian.
    """

    def __init__(self, bridge: Bridge, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        if bridge.modulation == "residual":
            raise ValueError("residual modulation is not Gaussian given y: use ResidualDenoiser")
        count, size = means.shape
        if weights.shape != (count,) or covariances.shape != (count, size, size) or size % 2:
            raise ValueError(
                f"weights (K,), means (K, 2d), covariances (K, 2d, 2d) expected, got {tuple(weights.shape)}, "
                f"{tuple(means.shape)}, {tuple(covariances.shape)}"
            )
        self.bridge = bridge
        d = size // 2
        means, covariances = means.double(), covariances.double()
        self._log_weights = weights.double().log()
        self._mean_x, self._mean_y = means[:, :d], means[:, d:]
        xx, xy, yy = covariances[:, :d, :d], covariances[:, :d, d:], covariances[:, d:, d:]
        self._gain = torch.linalg.solve(yy, xy.mT).mT
        self._covariance_y = yy
        conditional = xx - self._gain @ xy.mT
        values, self._vectors = torch.linalg.eigh((conditional + conditional.mT) / 2)
        self._values = values.clamp(min=0.0)

    def posterior(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute p(x0 | y).

        Args:
            y: degraded images (B, ...).

        Returns:
            Weights (B, K), means (B, K, d) and covariances (K, d, d).
        """
        flat = y.flatten(1).double()
        deviation = flat[:, None] - self._mean_y
        means = self._mean_x + torch.einsum("kij,bkj->bki", self._gain, deviation)
        log_likelihood = _log_normal(deviation, self._covariance_y)
        weights = torch.softmax(self._log_weights + log_likelihood, 1)
        covariances = self._vectors @ torch.diag_embed(self._values) @ self._vectors.mT
        return weights, means, covariances

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Compute E[x0 | x_t, y] for x_t, y (B, ...) and t (B,)."""
        c = self.bridge.coefficients(t.double())
        alpha, beta, gamma = (value.reshape(-1, 1, 1) for value in (c.alpha, c.beta, c.gamma))
        weights, means, _ = self.posterior(y)
        deviation = (x_t - per_image(beta, y.ndim) * y).flatten(1).double()[:, None] - alpha * means
        rotated = torch.einsum("kji,bkj->bki", self._vectors, deviation)
        variance = alpha.square() * self._values + gamma.square()
        variance = torch.where(variance > 0, variance, torch.ones_like(variance))
        if len(self._log_weights) > 1 and (gamma > 0).all():
            log_likelihood = -0.5 * (rotated.square() / variance + variance.log()).sum(-1)
            weights = torch.softmax(weights.clamp(min=1e-300).log() + log_likelihood, 1)
        shift = torch.einsum("kij,bkj->bki", self._vectors, alpha * self._values / variance * rotated)
        return (weights[..., None] * (means + shift)).sum(1).reshape(y.shape).to(y.dtype)


class GaussianDenoiser(MixtureDenoiser):
    """E[x0 | x_t, y] for one Gaussian joint of (x0, y).

    Args:
        bridge: the process that x_t belongs to.
        mean: (2 d,), x0 first, then y.
        covariance: (2 d, 2 d).
    """

    def __init__(self, bridge: Bridge, mean: Tensor, covariance: Tensor) -> None:
        super().__init__(bridge, torch.ones(1, dtype=torch.float64), mean[None], covariance[None])


@dataclass
class ResidualDenoiser:
    """E[x0 | x_t, y] under residual modulation.

    The residuals x0 - y of pixels are independent draws of one mixture. The integral runs over r for d = r (alpha + gamma e):
    p(r | d) is proportional to p(r) N(d / r; alpha, gamma^2) / |r|.

    Args:
        bridge: the process that x_t belongs to.
        weights: (K,), of the scalar mixture of residuals.
        means: (K,), in the bridge's units.
        stds: (K,), standard deviations in the bridge's units.
        points: nodes of the quadrature.
        width: standard deviations around each mean that the quadrature spans.
    """

    bridge: Bridge
    weights: Tensor
    means: Tensor
    stds: Tensor
    points: int = 2001
    width: float = 8.0
    """How many standard deviations around each mean the quadrature spans."""

    def __post_init__(self) -> None:
        if self.bridge.modulation != "residual":
            raise ValueError(f"ResidualDenoiser needs modulation residual, got {self.bridge.modulation!r}")
        low = (self.means - self.width * self.stds).min().item()
        high = (self.means + self.width * self.stds).max().item()
        # an even number of midpoints: r = 0, where the density of d is singular, is never a node
        edges = torch.linspace(low, high, 2 * (self.points // 2) + 1, dtype=torch.float64)
        self._nodes = (edges[1:] + edges[:-1]) / 2
        density = torch.distributions.Normal(self.means.double()[:, None], self.stds.double()[:, None])
        self._log_prior = torch.logsumexp(self.weights.double().log()[:, None] + density.log_prob(self._nodes), 0)

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Compute E[x0 | x_t, y] for x_t, y (B, ...) and t (B,)."""
        c = self.bridge.coefficients(t.double())
        alpha, beta, gamma = (per_image(value, y.ndim) for value in (c.alpha, c.beta, c.gamma))
        d = (x_t - (alpha + beta) * y).double()
        if (gamma == 0).all():
            prior_mean = (self._log_prior.softmax(0) * self._nodes).sum()
            r = torch.where(alpha > 0.0, d / alpha.clamp(min=1e-300), prior_mean)
            return (y + r).to(y.dtype)
        r = self._nodes
        error = (d[..., None] / r - alpha[..., None]) / gamma[..., None]
        log_weights = self._log_prior - 0.5 * error.square() - r.abs().log()
        return (y + (log_weights.softmax(-1) * r).sum(-1)).to(y.dtype)


def _log_normal(deviation: Tensor, covariance: Tensor) -> Tensor:
    """log N(deviation; 0, covariance): (B, K) for deviations (B, K, d) and covariances (K, d, d)."""
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, deviation.permute(1, 2, 0), upper=False)
    half_log_determinant = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    size = deviation.shape[-1]
    return -0.5 * white.square().sum(1).T - half_log_determinant - size / 2 * math.log(2 * math.pi)
