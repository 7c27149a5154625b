"""The U-Net of IR-SDE, GOUB and UniDB: no norms, linear attention per level.

Luo et al., arXiv 2301.11699. It sees [x - y, y] and the index of the time and predicts the noise; the variant for denoising
sees the state alone, and its middle attends to all pixels.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.layers import ScaleShift, TimeEmbedding, check_sizes, pad_to_multiple
from rebridge.networks.unet import FullAttention, LinearAttention, SkipLevel


class PlainBlock(nn.Module):
    """Residual block of two convolutions without bias and norm, each before a SiLU.

    The time scales and shifts the first.
    """

    def __init__(self, width: int, out_width: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, out_width, 3, padding=1, bias=False)
        self.modulate = ScaleShift(embedding, out_width)
        self.second = nn.Conv2d(out_width, out_width, 3, padding=1, bias=False)
        self.match = nn.Conv2d(width, out_width, 1, bias=False) if width != out_width else nn.Identity()

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Map features (B, width, H, W) to (B, out_width, H, W) at an embedded time."""
        inner = F.silu(self.modulate(self.first(h), embedding))
        return self.match(h) + F.silu(self.second(inner))


class PlainLevel(SkipLevel):
    """Two blocks and linear attention.

    On the way up, kept features are concatenated to what enters each block.
    """

    def __init__(self, width: int, skip: int, embedding: int, leave: nn.Module) -> None:
        super().__init__()
        self.first = PlainBlock(width + skip, width, embedding)
        self.second = PlainBlock(width + skip, width, embedding)
        self.attend = LinearAttention(width, mean_values=True)
        self.leave = leave


class ConditionalUNet(nn.Module):
    """Noise predictor of the IR-SDE family; the width doubles at each level.

    Args:
        channels: Channels of an image.
        width: Features of the finest level; 64 as published, 32 for the released inpainting and shadow weights.
        depth: Number of levels.
        conditional: Whether it sees the degraded image beside the state.
    """

    def __init__(self, channels: int = 3, width: int = 64, depth: int = 4, conditional: bool = True) -> None:
        super().__init__()
        check_sizes(channels=channels, width=width, depth=depth)
        self.channels = channels
        self.conditional = conditional
        self.multiple = 2**depth
        embedding = 4 * width
        widths = [width * 2**i for i in range(depth + 1)]
        self.time = TimeEmbedding(embedding, sinusoids=width, scale=1.0, gelu=True)
        self.head = nn.Conv2d(channels * (2 if conditional else 1), width, 7, padding=3, bias=False)
        self.descent = nn.ModuleList()
        self.ascent = nn.ModuleList()
        for i, (above, below) in enumerate(itertools.pairwise(widths)):
            down: nn.Module = nn.Conv2d(above, below, 4, stride=2, padding=1)
            up: nn.Module = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(below, above, 3, padding=1))
            if i == depth - 1:
                down = nn.Conv2d(above, below, 3, padding=1, bias=False)
            if i == 0:
                up = nn.Conv2d(below, above, 3, padding=1, bias=False)
            self.descent.append(PlainLevel(above, 0, embedding, down))
            self.ascent.insert(0, PlainLevel(below, above, embedding, up))
        self.middle_first = PlainBlock(widths[-1], widths[-1], embedding)
        self.middle_attend = LinearAttention(widths[-1], mean_values=True) if conditional else FullAttention(widths[-1])
        self.middle_second = PlainBlock(widths[-1], widths[-1], embedding)
        self.last = PlainBlock(2 * width, width, embedding)
        self.tail = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, index: Tensor, y: Tensor) -> Tensor:
        """Predict the noise in a state.

        Args:
            x: State, (B, C, H, W) in the units of [0, 1] images, any size.
            index: Index of the time, (B,); the authors count from 1 to T.
            y: Degraded image like x; not used by the variant without condition.

        Returns:
            The noise, (B, C, H, W).
        """
        height, width = x.shape[-2:]
        image = torch.cat([x - y, y], dim=1) if self.conditional else x
        embedding = self.time(index)
        head = self.head(pad_to_multiple(image, self.multiple))
        h = head
        skips: list[Tensor] = []
        for level in self.descent:
            h = level(h, embedding, skips)
        h = self.middle_attend(self.middle_first(h, embedding))
        h = self.middle_second(h, embedding)
        for level in self.ascent:
            h = level.ascend(h, embedding, skips)  # type: ignore[operator]
        noise: Tensor = self.tail(self.last(torch.cat([h, head], dim=1), embedding))
        return noise[..., :height, :width]
