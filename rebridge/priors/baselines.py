"""What decides whether a bridge adds anything: the same conditional prior, sampled without one.

IRBridge is stochastic DDIM of the conditional prior with a start of its own (derived), so with the same network and as many
calls the two to beat are DDIM from pure noise, and DDIM from the degraded image under noise (SDEdit, arXiv 2108.01073).
"""

from __future__ import annotations

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser
from rebridge.samplers.base import Callback, Noise
from rebridge.samplers.dbim import DBIM


def conditional_ddim(
    process: Bridge,
    prior: Denoiser,
    y: Tensor,
    *,
    steps: int = 25,
    eta: float = 0.0,
    noise: Noise | None = None,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Generate from pure noise, conditioned on y (B, ...) in the prior's space, in `steps` equal steps of time."""
    sampler = DBIM(steps=steps, eta=eta)
    return sampler(process, prior, y, noise=noise, generator=generator, callback=callback)


def sdedit(
    process: Bridge,
    prior: Denoiser,
    y: Tensor,
    *,
    strength: float = 0.5,
    steps: int = 25,
    eta: float = 0.0,
    noise: Noise | None = None,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Begin at the process's time `strength` in (0, 1] with y (B, ...) in the place of x0, then DDIM in `steps` steps.

    Raises ValueError for a strength outside that range.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength must lie in (0, 1], got {strength}")
    draw = noise or (lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device))
    x = process.forward(y, y, torch.full((len(y),), strength, dtype=torch.float64), draw(y))
    times = torch.linspace(strength, 0.0, steps + 1, dtype=torch.float64)
    sampler = DBIM(steps=steps, eta=eta)
    return sampler(process, prior, y, x=x, times=times, noise=draw, callback=callback)
