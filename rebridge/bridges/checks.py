"""Checks of a process: what every sampler takes for granted."""

from __future__ import annotations

import torch

from rebridge.bridges.base import Bridge

ROUGH = 0.02
"""Share of anything else that an end may hold; I2SB has 0.01 of noise at t = 0."""


def check_bridge(bridge: Bridge) -> None:
    """Raise ValueError for a process that samplers could not sample.

    `bridges.create` calls it, so it is enough to register a bridge of one's own. Checked are shape, type and range of the
    factors, that t = 0 is the clean image, and that a process that ends without noise ends in what `prior` gives.

    Args:
        bridge: the process.

    Raises:
        ValueError: one sentence with the first thing that is wrong.
    """
    what = f"bridge {bridge.name!r}"
    t = torch.tensor([[0.0, 0.25, 0.5], [0.75, 0.9, 1.0]], dtype=torch.float64)
    c = bridge.coefficients(t)
    for name, value in (("alpha", c.alpha), ("beta", c.beta), ("gamma", c.gamma)):
        if value.shape != t.shape or value.dtype != torch.float64:
            raise ValueError(
                f"{what}: {name} must be float64 of the times' shape {tuple(t.shape)}, got {value.dtype} of {tuple(value.shape)}"
            )
        if not torch.isfinite(value).all():
            raise ValueError(f"{what}: {name} must be finite at all times in [0, 1]")
    lowest = bridge.marginal(t).gamma.min().item()  # `coefficients` makes 0 of what is below
    if lowest < -1e-9:
        raise ValueError(f"{what}: gamma must not be negative, got {lowest:g}")
    alpha, beta, gamma = (value[0, 0].item() for value in (c.alpha, c.beta, c.gamma))
    if max(abs(alpha - 1), abs(beta), gamma) > ROUGH:
        raise ValueError(
            f"{what}: at t = 0 it must be the clean image (alpha 1, beta 0, gamma 0), got {alpha:g}, {beta:g} and {gamma:g}"
        )
    _check_end(bridge, what)


def _check_end(bridge: Bridge, what: str) -> None:
    y = torch.linspace(-0.5, 0.5, 6, dtype=torch.float64).reshape(2, 1, 1, 3)
    still, moved = bridge.prior(y, torch.zeros_like(y)), bridge.prior(y, torch.ones_like(y))
    if still.shape != y.shape or moved.shape != y.shape:
        raise ValueError(f"{what}: prior must give states of y's shape {tuple(y.shape)}, got {tuple(still.shape)}")
    if bridge.starts_noisy == torch.equal(still, moved):
        does, says = ("does not use", "does") if bridge.starts_noisy else ("uses", "does not")
        raise ValueError(f"{what}: prior {does} its noise, and starts_noisy says that it {says}")
    if bridge.singular_end:
        end = bridge.coefficients(1.0)
        if abs(end.alpha.item()) > ROUGH:
            raise ValueError(
                f"{what}: it has no noise at t = 1, so x0 must be gone there too (alpha 0), got {end.alpha.item():g}"
            )
