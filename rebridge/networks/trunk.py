"""The U-Net of `careful`.

Dense 3x3 convolutions over 2x2-unshuffled pixels, told which kinds of degradation to remove.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.features import GatedBlock, Pointwise, apply_blocks, entered, joined, modulated, shuffled
from rebridge.networks.layers import in_float32, zero_init


class Norm(nn.Module):
    """Layer normalisation of each pixel over its channels.

    (B, C, H, W) in channels-last order.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, h: Tensor) -> Tensor:
        """The same shape."""
        last = h.permute(0, 2, 3, 1)
        return F.layer_norm(last, self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


class Wide(nn.Module):
    """h + mlp(depthwise7x7(norm(h))), for the coarsest level.

    Seeing far is cheap there; borders are repeated.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = Norm(width)
        self.look = nn.Conv2d(width, width, 7, groups=width, padding=3, padding_mode="replicate")
        self.enter = nn.Conv2d(width, 2 * width, 1)
        self.leave = nn.Conv2d(2 * width, width, 1)
        zero_init(self.leave)

    def forward(self, h: Tensor) -> Tensor:
        """The same shape."""
        result: Tensor = h + self.leave(F.silu(self.enter(self.look(self.norm(h)))))
        return result


class KindLevel(nn.Module):
    """Blocks after h * (1 + scale) + shift.

    Both are affine in the kinds (B, kinds) to treat.
    """

    def __init__(self, blocks: list[nn.Module], width: int, kinds: int) -> None:
        super().__init__()
        self.kind = nn.Linear(kinds, 2 * width)
        self.blocks = nn.Sequential(*blocks)
        zero_init(self.kind)

    def forward(self, h: Tensor, kinds: Tensor) -> Tensor:
        """(B, width, H, W) to the same."""
        return apply_blocks(self.blocks, modulated(h, self.kind(kinds)))


class Trunk(nn.Module):
    """Residual (B, 3, H, W) and the deepest features.

    From a toned picture, the picture, and its sharpening.

    kinds: how many kinds of degradation there are; widths, blocks, middle: as in `careful.Careful`.
    """

    def __init__(self, kinds: int, widths: Sequence[int], blocks: Sequence[int], middle: int) -> None:
        super().__init__()
        steps = list(itertools.pairwise(widths))

        def gated(width: int, count: int) -> KindLevel:
            return KindLevel([GatedBlock(width) for _ in range(count)], width, kinds)

        self.head = nn.Conv2d(36, widths[0], 3, padding=1)
        self.before = nn.ModuleList(gated(width, n) for width, n in zip(widths, blocks, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(width, deeper, 2, stride=2) for width, deeper in steps)
        self.middle = KindLevel([Wide(widths[-1]) for _ in range(middle)], widths[-1], kinds)
        self.up = nn.ModuleList(Pointwise(deeper, 4 * width) for width, deeper in steps)
        self.after = nn.ModuleList(gated(width, n) for width, n in zip(widths, blocks, strict=False))
        self.tail = nn.Conv2d(widths[0], 12, 3, padding=1)
        zero_init(self.tail)

    def forward(self, toned: Tensor, y: Tensor, sharper: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both; kinds (B, kinds) lie in [0, 1].

        All pictures (B, 3, H, W), sides multiples of 2^levels.
        """
        h = entered(self.head, [toned, toned - y, sharper])
        skips = []
        for level, down in zip(self.before, self.down, strict=True):
            h = level(h, kinds)
            skips.append(h)
            h = down(h)
        deep = h = self.middle(h, kinds)
        for level, up in zip(reversed(self.after), reversed(self.up), strict=True):
            h = level(joined(skips.pop(), cast(nn.Conv2d, up), h), kinds)
        return in_float32(partial(shuffled, self.tail), h), deep
