"""Maps of trust: the share of a change to make at each place.

What was learned to help is blended in, the rest left out; and where the tone has the word, slow changes are held back. Derived.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.averages import block_means, surrounding_means
from rebridge.networks.exporting import cell_means, exporting
from rebridge.networks.layers import zero_init

STEADY = (0.2, 0.9)
"""Least and most share of slow changes that is held back of hazy pictures."""
THIN, RISE = 0.25, 0.5
"""Mean optical depth above which more than the least is held back of them, and how fast the share rises."""
STEADY_IN_DARK = 0.6
"""Share of slow changes that is held back of dark pictures."""
STEADY_BLOCK = 16
"""Side in pixels of the blocks by which a change is slow."""


class TrustMap(nn.Module):
    """Share of a change to make at each place, (B, 1, H/16, W/16).

    From all that is known of the picture and the change.
    """

    def __init__(self, features: int, deep: int, kinds: int, width: int = 64) -> None:
        super().__init__()
        self.enter = nn.Conv2d(features + deep + 9, width, 1)
        self.given = nn.Linear(2 * kinds, width)
        self.inner = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate") for _ in range(2))
        self.leave = nn.Conv2d(width, 1, 1)
        zero_init(self.leave)
        with torch.no_grad():
            self.leave.bias.fill_(3.0)  # type: ignore[union-attr]

    def forward(self, features: Tensor, deep: Tensor, change: Tensor, kinds: Tensor, logits: Tensor) -> Tensor:
        """Nothing but the trust itself is taught by what becomes of it."""
        height, width = features.shape[-2:]
        pool = cell_means if exporting() else lambda h, *size: F.adaptive_avg_pool2d(h, size)
        deep = pool(deep.float(), height, width)
        seen = torch.cat([features.float(), deep, change.float()], 1).detach()
        given = torch.cat([kinds.float(), logits.float().sigmoid()], 1).detach()
        h = F.gelu(self.enter(seen) + self.given(given)[:, :, None, None])
        for layer in self.inner:
            h = h + F.gelu(layer(h))
        trust: Tensor = self.leave(h).float().sigmoid()
        return trust


def feature_blocks(change: Tensor) -> Tensor:
    """Sum up a change (B, 3, H, W) over blocks of 16 pixels.

    Mean, mean size and root mean square (B, 9, H/16, W/16), in logarithmic scale.
    """
    change = change.float()
    size = block_means(change.abs(), 16)
    square = block_means(change.square(), 16).sqrt()
    return torch.cat([block_means(change, 16), torch.log(size + 1e-3) + 3, torch.log(square + 1e-3) + 3], 1)


def steadiness(depth: Tensor) -> Tensor:
    """Share of slow changes that is held back of hazy pictures, (B,).

    In thin haze what the trunk paints comes closer to the truth than a map of few parameters, in dense haze it does not.

    Args:
        depth: mean optical depth of each, (B,).
    """
    least, most = STEADY
    return (least + RISE * (depth - THIN)).clamp(least, most)


def held_back(change: Tensor, held: Tensor) -> Tensor:
    """Hold back a share of the slow part of a change (B, 3, H, W).

    Its sides are multiples of 16. held: (B,) in [0, 1], which share.
    """
    places = surrounding_means(block_means(change.float(), STEADY_BLOCK))
    slow = F.interpolate(places, scale_factor=float(STEADY_BLOCK), mode="bilinear")
    return change - held.view(-1, 1, 1, 1) * slow
