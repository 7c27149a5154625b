"""A degradation classifier: local statistics, then a few convolutions over them.

One network can then treat each degradation as it needs. Rain, haze, darkness, noise: the right change of a pixel depends on which
of them it is, and a small convolutional network that has to find out by itself, from the restoration loss alone, learns that
slowly: it brightens what is merely dark and clears what was never hazy. Derived; the gain is measured by
benchmarks/time_sampling.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.averages import block_means
from rebridge.networks.layers import ChannelNorm, at_least_float32

BLOCK = 16
"""Side in pixels of the blocks that statistics are taken over."""
ANSWER_REACH = 7
"""Blocks to each side that the logits of a block depend on: three convolutions, and a mean over nine."""
BLOCKS_AT_ONCE = 2**16
"""Most blocks that are classified at once; their features would take more memory than what they are computed from."""
SCALES = 4
STATISTICS = 7 + 10 * SCALES + 2


class DegradationClassifier(nn.Module):
    """Logits of the class of degradation at each place of y (B, 3, H, W).

    Statistics of blocks, three 3x3 convolutions over blocks, and a mean over 9x9 blocks: an answer depends on a window of 17x17
    blocks, never on the size of the image.

    Args:
        kinds: number of classes.
        width: features.
    """

    def __init__(self, kinds: int, width: int = 48) -> None:
        super().__init__()
        self.enter = nn.Conv2d(STATISTICS, width, 3, padding=1)
        self.inner = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(ChannelNorm(width) for _ in range(2))
        self.leave = nn.Conv2d(width, kinds, 1)

    def forward(self, y: Tensor) -> Tensor:
        """Compute logits (B, kinds, H/16, W/16) of y.

        Its sides are multiples of 16. The logits are in float32 whatever autocast computes in.
        """
        return self.answer(block_statistics(y))

    def answer(self, measured: Tensor) -> Tensor:
        """Compute the logits of the statistics of all blocks, see `block_statistics`."""
        h = F.gelu(self.enter(measured))
        for norm, inner in zip(self.norms, self.inner, strict=True):
            h = F.gelu(inner(norm(h)))
        return F.avg_pool2d(at_least_float32(self.leave(h)), 9, stride=1, padding=4, count_include_pad=False)


def block_statistics(y: Tensor) -> Tensor:
    """Compute local statistics of images, all in a logarithmic scale.

    Mean, deviation and dark channel of each block; then at four scales, each half of the one before: mean size and mean
    brightness above the surroundings (root mean square) of what the next scale does not show, and mean size of differences
    in four directions; and how much the finest detail differs between colours. Those of a block depend on the blocks beside it.

    Args:
        y: (B, 3, H, W) in [-1, 1].

    Returns:
        (B, STATISTICS, H/16, W/16).
    """
    y = (at_least_float32(y).contiguous() + 1) / 2  # pools and differences go along rows
    mean = block_means(y, BLOCK)
    deviation = (block_means(y.square(), BLOCK) - mean.square()).clamp_min(0).sqrt()
    found = [mean, deviation, block_means(y.amin(1, keepdim=True), BLOCK)]
    scaled = y
    for scale in range(SCALES):
        block = BLOCK >> scale
        coarser = block_means(scaled, 2)
        detail = scaled - F.interpolate(coarser, scale_factor=2.0, mode="bilinear")
        found += [block_means(detail.abs(), block), block_means(detail.relu().square(), block).sqrt()]
        found += [block_means(step.abs(), block) for step in _differences(scaled.mean(1, keepdim=True))]
        if scale == 0:
            found.append(block_means((detail[:, 0::2] - detail[:, 1:2]).abs(), block))
        scaled = coarser
    return torch.log(torch.cat(found, dim=1) + 1e-3) + 3


def _differences(grey: Tensor) -> list[Tensor]:
    """Differences to the neighbour at the right, below, and on both diagonals, at (H, W); 0 at the border."""
    across = F.pad(grey[..., 1:] - grey[..., :-1], (0, 1))
    down = F.pad(grey[..., 1:, :] - grey[..., :-1, :], (0, 0, 0, 1))
    falling = F.pad(grey[..., 1:, 1:] - grey[..., :-1, :-1], (0, 1, 0, 1))
    rising = F.pad(grey[..., 1:, :-1] - grey[..., :-1, 1:], (0, 1, 0, 1))
    return [across, down, falling, rising]
