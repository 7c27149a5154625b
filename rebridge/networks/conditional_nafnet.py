"""Refusion's network: a U of NAFNet's gated blocks, modulated by the time.

Luo et al., arXiv 2304.08291, on NAFNet, arXiv 2204.04676. It sees [x - y, y] and the index of the time and predicts the noise.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.layers import TimeEmbedding, check_levels, check_sizes
from rebridge.networks.unet import ChannelGain


def gate(h: Tensor) -> Tensor:
    """Product of the two halves of the channels (or of the last axis of a matrix)."""
    first, second = h.chunk(2, dim=1)
    return first * second


class ModulatedGate(nn.Module):
    """A depthwise gated part and a pointwise one, each added with gains.

    The first has attention over channels; the time scales and shifts what enters each.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.modulate = nn.Linear(embedding // 2, 4 * width)
        self.norm = ChannelGain(width)
        self.enter = nn.Conv2d(width, 2 * width, 1)
        self.look = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.attend = nn.Conv2d(width, width, 1)
        self.leave = nn.Conv2d(width, width, 1)
        self.gain = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.second_norm = ChannelGain(width)
        self.second_enter = nn.Conv2d(width, 2 * width, 1)
        self.second_leave = nn.Conv2d(width, width, 1)
        self.second_gain = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Features (B, width, H, W) from the same and the embedded time (B, embedding)."""
        terms = self.modulate(gate(embedding))[:, :, None, None]
        shift, scale, second_shift, second_scale = terms.chunk(4, dim=1)
        inner = gate(self.look(self.enter(self.norm(h) * (1 + scale) + shift)))
        inner = inner * self.attend(inner.mean(dim=(2, 3), keepdim=True))
        h = h + self.gain * self.leave(inner)
        inner = self.second_enter(self.second_norm(h) * (1 + second_scale) + second_shift)
        return h + self.second_gain * self.second_leave(gate(inner))


class GatedTime(TimeEmbedding):
    """Time embedding with a gate in place of its activation."""

    def __init__(self, sinusoids: int) -> None:
        super().__init__(4 * sinusoids, sinusoids, scale=1.0)
        self.first = nn.Linear(sinusoids, 8 * sinusoids)
        self.activation = gate


class ConditionalNAFNet(nn.Module):
    """Noise predictor of Refusion.

    Args:
        channels: Channels of an image.
        width: Features of the finest level; it doubles at each level.
        encoder: Blocks of the levels on the way down, from fine to coarse.
        middle: Blocks at the coarsest size.
        decoder: Blocks of the levels on the way up, from coarse to fine.
        conditional: Whether it sees the degraded image beside the state.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        encoder: Sequence[int] = (1, 1, 1, 28),
        middle: int = 1,
        decoder: Sequence[int] = (1, 1, 1, 1),
        conditional: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, width=width)
        check_levels(encoder=encoder, decoder=decoder)
        if len(encoder) != len(decoder):
            raise ValueError(f"encoder and decoder must have as many levels, got {len(encoder)} and {len(decoder)}")
        self.channels = channels
        self.conditional = conditional
        self.multiple = 2 ** len(encoder)
        embedding = 4 * width
        widths = [width * 2**i for i in range(len(encoder) + 1)]

        def blocks(count: int, features: int) -> nn.ModuleList:
            return nn.ModuleList(ModulatedGate(features, embedding) for _ in range(count))

        self.time = GatedTime(width)
        self.head = nn.Conv2d(channels * (2 if conditional else 1), width, 3, padding=1)
        self.descent = nn.ModuleList(blocks(*pair) for pair in zip(encoder, widths, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(above, below, 2, stride=2) for above, below in itertools.pairwise(widths))
        self.middle = blocks(middle, widths[-1])
        self.up = nn.ModuleList(nn.Conv2d(below, 2 * below, 1, bias=False) for below in reversed(widths[1:]))
        self.ascent = nn.ModuleList(blocks(*pair) for pair in zip(decoder, reversed(widths[:-1]), strict=True))
        self.tail = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, index: Tensor, y: Tensor) -> Tensor:
        """Predict the noise in a state; arguments as those of `ConditionalUNet`."""
        height, width = x.shape[-2:]
        image = torch.cat([x - y, y], dim=1) if self.conditional else x
        embedding = self.time(index)
        h = self.head(F.pad(image, (0, -width % self.multiple, 0, -height % self.multiple)))
        kept = []
        for blocks, down in zip(self.descent, self.down, strict=True):
            h = _through(blocks, h, embedding)
            kept.append(h)
            h = down(h)
        h = _through(self.middle, h, embedding)
        for blocks, up in zip(self.ascent, self.up, strict=True):
            h = _through(blocks, F.pixel_shuffle(up(h), 2) + kept.pop(), embedding)
        noise: Tensor = self.tail(h)
        return noise[..., :height, :width]


def _through(blocks: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    for block in blocks:  # type: ignore[attr-defined]
        h = block(h, embedding)
    return h
