"""A check that a process is a bridge, for those that users write."""

from __future__ import annotations

import torch
from torch import Tensor

from rebridge.bridges.base import Bridge

NEAR_X0 = 0.02
"""How far from x0 a process may be at t = 0; I2SB's first time is not quite 0."""


def check_bridge(bridge: Bridge) -> None:
    """Check that a process begins in x0, has coefficients, and a known end.

    Raises:
        ValueError: it does not; one sentence that names the coefficient.
    """
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    c = bridge.marginal(t)
    for key, value in {"alpha": c.alpha, "beta": c.beta, "gamma": c.gamma}.items():
        _check_values(bridge.name, key, value, t)
    if c.gamma.min() < 0:
        raise ValueError(f"bridge {bridge.name!r}: gamma must be at least 0, got {c.gamma.min().item():.4g}")
    for key, value, wanted in (("alpha", c.alpha, 1.0), ("beta", c.beta, 0.0)):
        if abs(value[0].item() - wanted) > NEAR_X0:
            raise ValueError(
                f"bridge {bridge.name!r}: {key} must be {wanted:g} at t = 0, where the state is x0, got {value[0].item():.4g}"
            )
    if c.gamma[0] > c.gamma.max() / 2 and c.gamma[0] > NEAR_X0 and not bridge.noiseless:
        raise ValueError(
            f"bridge {bridge.name!r}: gamma must be about 0 at t = 0, where the state is x0, got {c.gamma[0].item():.4g}"
        )
    _check_end(bridge, f"bridge {bridge.name!r}")


def _check_values(name: str, key: str, value: Tensor, t: Tensor) -> None:
    if not isinstance(value, Tensor) or value.shape != t.shape:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"bridge {name!r}: {key} must be a tensor of the shape of t, got {got} for {tuple(t.shape)}")
    if not torch.isfinite(value).all():
        place = t[~torch.isfinite(value)][0].item()
        raise ValueError(f"bridge {name!r}: {key} is not finite at t = {place:g}")


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
        if abs(end.alpha.item()) > NEAR_X0:
            raise ValueError(
                f"{what}: it has no noise at t = 1, so x0 must be gone there too (alpha 0), got {end.alpha.item():g}"
            )
