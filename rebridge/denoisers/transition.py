"""A model of one process as a denoiser of another, by transition (IRBridge).

States are carried over at equal noise-to-signal ratio.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.bridges.coefficients import per_image
from rebridge.bridges.transition import check_pair
from rebridge.denoisers.base import Denoiser, Estimate, as_estimate


class TransitionDenoiser:
    """The denoiser of one process as that of another, by transition.

    x_t is carried over at the critical time and denoised there. Where the bridge holds more noise than the process ever does, its
    state is scaled down to the process's noisiest time. At a pinned end it holds nothing but y: a prior then sees y under that
    much noise (the same at each evaluation), the network of a bridge sees y itself, at t = 1. Where the bridge holds less noise
    than at `lowest`, the prior is evaluated at `lowest`.

    Args:
        prior: denoiser of `process`, called as prior(z, s, y).
        process: what the prior was trained on, generative or a bridge.
        bridge: what is sampled; its noise must be of the same kind (modulation).
        lowest: earliest time the prior was trained at, by default the process's first.

    Raises:
        ValueError: a process without noise, or two kinds of noise.
    """

    def __init__(self, prior: Denoiser, process: Bridge, bridge: Bridge, lowest: float | None = None) -> None:
        check_pair(bridge, process)
        self.prior = prior
        self.process = process
        self.bridge = bridge
        self.lowest = process.earliest_time if lowest is None else lowest

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Estimate:
        """Estimate x0 for states x_t and degraded images y (B, ...) and times t (B,)."""
        times = t.double().cpu()
        c, level = self.bridge.coefficients(times), self.bridge.noise_level(times)
        ends = torch.tensor([self.lowest, self.process.noisiest_time], dtype=torch.float64)
        least, most = self.process.noise_level(ends).tolist()
        singular, finite = c.gamma + c.alpha == 0, torch.isfinite(level.clamp(least, most))
        s = self.process.time_of_level(torch.where(finite, level.clamp(least, most), least))
        s = torch.where(finite, s, ends[1])
        p = self.process.coefficients(s)
        factor = torch.where((level > most) | (c.alpha == 0), p.gamma / c.gamma, p.alpha / c.alpha)
        factor = per_image(torch.where(singular, torch.zeros_like(factor), factor).to(x_t), y.ndim)
        z = factor * (x_t - c.like(y).beta * y)
        if bool(singular.any()):
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(y.shape[1:], generator=generator).to(y)
            start = p.like(y).alpha * y + p.like(y).gamma * noise
            z = torch.where(per_image(singular.to(y.device), y.ndim), start, z)
        if bool((p.beta != 0).any()):
            z = z + p.like(y).beta * y
        return Estimate(as_estimate(self.prior(z, s.to(t), y)).x0)
