"""Weights of samples by their time.

ddbm        1 / c_out^2 of DDBM's preconditioning: every time asks as much of the network (arXiv 2309.16948)
posterior   a^2 / (2 v): the share of a step in the variational bound, with a the factor of x0 in the mean of the reverse step of
            the grid and v its variance, that of the second step for the first (ResShift's code)
"""

from __future__ import annotations

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.denoisers import NetworkDenoiser, ddbm_preconditioning


def loss_weights(kind: str, denoiser: NetworkDenoiser, t: Tensor) -> Tensor:
    """Compute the weights of an error of x0_hat.

    Args:
        kind: "none", "ddbm" or "posterior".
        denoiser: whose process and scale count.
        t: times (B,).

    Returns:
        Float64, (B,).

    Raises:
        ValueError: an unknown kind, or a process without noise for "posterior".
    """
    if kind == "none":
        return torch.ones_like(t, dtype=torch.float64)
    if kind == "ddbm":
        scale = denoiser.scale if denoiser.prediction == "ddbm" else 0.5
        return ddbm_preconditioning(denoiser.bridge, t, scale).weight
    if kind != "posterior":
        raise ValueError(f"weighting must be none, ddbm or posterior, got {kind!r}")
    if denoiser.bridge.noiseless:
        raise ValueError(f"weighting posterior needs a bridge with noise, and {denoiser.bridge.name!r} here has none")
    step = 1 / (denoiser.bridge.grid_steps or 100)
    found = [_posterior_weight(denoiser.bridge, time, step) for time in t.double().flatten().tolist()]
    return torch.tensor(found, dtype=torch.float64, device=t.device).reshape(t.shape)


def _posterior_weight(bridge: Bridge, t: float, step: float) -> float:
    factor, variance = _reverse_step(bridge, t, max(t - step, 0.0))
    if variance == 0:
        variance = _reverse_step(bridge, min(t + step, 1.0), t)[1]
    return factor**2 / (2 * max(variance, 1e-12))


def _reverse_step(bridge: Bridge, t: float, s: float) -> tuple[float, float]:
    """The factor of x0 in the mean of x_s given x_t, and the variance."""
    own = bridge.reverse_kernel(t, s)
    if own is not None:
        return own[0], own[3] ** 2
    c = bridge.coefficients(torch.tensor([t, s], dtype=torch.float64))
    (alpha_t, alpha_s), (gamma_t, gamma_s) = c.alpha.tolist(), c.gamma.tolist()
    if gamma_t == 0 or alpha_s == 0:
        return alpha_s, gamma_s**2
    kept = (gamma_s / gamma_t) ** 2 * alpha_t / alpha_s
    return alpha_s - kept * alpha_t, gamma_s**2 * max(0.0, 1 - kept * alpha_t / alpha_s)
