"""Maps of trust: the share of a change to make at each place.

What was learned to help is blended in, the rest left out. Derived.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.exporting import cell_means, exporting
from rebridge.networks.layers import zero_init


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
