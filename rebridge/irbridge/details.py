"""Details of the input, kept where the restoration changed nothing.

An autoencoder loses them for no reason there.

A latent prior returns D(x0) for the degraded image y; the autoencoder alone turns y into D(E(y)), which lacks y's finest
details. Where the two agree up to small differences, the loss y - D(E(y)) is added back:

    result + strength * w * (y - D(E(y))),      w = exp(-(m / tolerance)^2),

with m the local mean of |result - D(E(y))|. Derived; w is 1 where nothing was restored and falls to 0 where it was.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TOLERANCE = 0.04
"""Change that counts as restoration, in units of [0, 1]: 10 of 255 levels."""
RADIUS = 4
"""Half the side of the window in which the change is averaged, in px."""


def keep_details(
    restored: Tensor, y: Tensor, through: Tensor, strength: float = 1.0, tolerance: float = TOLERANCE
) -> Tensor:
    """Add y's details back where the restoration does not differ from D(E(y)).

    Args:
        restored: (B, C, H, W) in [0, 1], as are the other two images.
        y: degraded images.
        through: D(E(y)), y through the autoencoder alone.
        strength: in [0, 1].
        tolerance: change that counts as restoration, see this module's first lines; positive.

    Raises:
        ValueError: values outside their ranges.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie in [0, 1], got {strength}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}")
    change = (restored - through).abs().mean(1, keepdim=True)
    change = nn.functional.avg_pool2d(
        nn.functional.pad(change, [RADIUS] * 4, mode="replicate"), 2 * RADIUS + 1, stride=1
    )
    return restored + strength * torch.exp(-((change / tolerance) ** 2)) * (y - through)
