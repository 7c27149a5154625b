"""A small U-Net made for the CPU: dense 3x3 convolutions at the fine levels, 7x7 depthwise ones at the coarsest."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.layers import Network, ScaleShift, TimeEmbedding, check_inputs, check_sizes, pad_to_multiple


class ConvBlock(nn.Module):
    """h + conv(silu(scale_shift(conv(h), time))), both convolutions dense 3x3."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(width, width, 3, padding=1)
        self.modulate = ScaleShift(embedding, width)
        self.leave = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        return h + self.leave(F.silu(self.modulate(self.enter(h), embedding)))


class WideBlock(nn.Module):
    """h + mlp(scale_shift(depthwise(h), time)): a 7x7 depthwise convolution that sees far, then two 1x1 ones.

    Borders are replicated: zeros there would tell the network how far the border is, and a training patch has
    borders everywhere while a full image has hardly any.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(width, width, 7, groups=width)
        self.modulate = ScaleShift(embedding, width)
        self.enter = nn.Conv2d(width, 2 * width, 1)
        self.leave = nn.Conv2d(2 * width, width, 1)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        seen = self.look(F.pad(h, (3, 3, 3, 3), mode="replicate"))
        return h + self.leave(F.silu(self.enter(self.modulate(seen, embedding))))


class Fast(Network):
    """Raw output (B, C, H, W) of a U-Net over 2x2-unshuffled pixels, without attention and without normalisation.

    The output at a pixel depends on a window of the image only, at most 274 pixels to each side, never on the image's
    size. Derived; chosen by measurement: forward and backward of 8x3x128x128 on two cores takes 0.35 of the
    time of a NAFNet-like U-Net with as many parameters under bfloat16 autocast, 0.5 in float32, and gains nothing by
    torch.compile.

    channels: of an image; widths: of the levels, at 1/2, 1/4, 1/8, ... of the size; blocks: residual blocks before and
    again after the middle at each level but the last; middle: blocks at the last level; embedding: features of time.
    optional_condition: one more input channel tells whether there is a degraded image at all; there is none where y is 0
    everywhere, the middle grey that 8-bit images do not have. For priors that also work without y.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (32, 48, 64, 80),
        blocks: Sequence[int] = (2, 1, 1),
        middle: int = 4,
        embedding: int = 32,
        optional_condition: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, widths=widths, blocks=blocks, middle=middle, embedding=embedding)
        if len(blocks) != len(widths) - 1:
            raise ValueError(f"blocks must have one entry less than widths, got {len(blocks)} and {len(widths)}")
        self.channels = channels
        self.optional_condition = optional_condition
        self.multiple = 2 ** len(widths)
        steps = list(itertools.pairwise(widths))
        self.time = TimeEmbedding(embedding)
        self.head = nn.Conv2d(8 * channels + 4 * optional_condition, widths[0], 3, padding=1)
        self.before = nn.ModuleList(_level(width, n, embedding) for width, n in zip(widths, blocks, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(width, deeper, 2, stride=2) for width, deeper in steps)
        self.middle = nn.ModuleList(WideBlock(widths[-1], embedding) for _ in range(middle))
        self.up = nn.ModuleList(nn.Conv2d(deeper, 4 * width, 1) for width, deeper in steps)
        self.after = nn.ModuleList(_level(width, n, embedding) for width, n in zip(widths, blocks, strict=False))
        self.tail = nn.Conv2d(widths[0], 4 * channels, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Raw output for the state x at times t given the degraded y; see `Network`."""
        check_inputs(x, t, y, self.channels)
        height, width = x.shape[-2:]
        embedding = self.time(t)
        inputs = [x, y]
        if self.optional_condition:
            inputs.append((y != 0).flatten(1).any(1).to(x.dtype).view(-1, 1, 1, 1).expand(-1, 1, height, width))
        pixels = F.pixel_unshuffle(pad_to_multiple(torch.cat(inputs, dim=1), self.multiple), 2)
        h = self.head(pixels.contiguous(memory_format=torch.channels_last))
        skips = []
        for level, down in zip(self.before, self.down, strict=True):
            h = _run(level, h, embedding)
            skips.append(h)
            h = down(h)
        h = _run(self.middle, h, embedding)
        for level, up in zip(reversed(self.after), reversed(self.up), strict=True):
            h = _run(level, F.pixel_shuffle(up(h), 2) + skips.pop(), embedding)
        return F.pixel_shuffle(self.tail(h), 2)[..., :height, :width]


def _level(width: int, blocks: int, embedding: int) -> nn.ModuleList:
    return nn.ModuleList(ConvBlock(width, embedding) for _ in range(blocks))


def _run(blocks: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    for block in blocks:  # type: ignore[attr-defined]
        h = block(h, embedding)
    return h
