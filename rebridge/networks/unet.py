"""The U-Net of RDBM (arXiv 2510.23116).

Weight-standardised residual blocks, linear attention per level, full attention in the middle.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.conditions import ConditionLayers, conditions_of
from rebridge.networks.layers import (
    Network,
    ScaleShift,
    TimeEmbedding,
    check_inputs,
    check_levels,
    check_sizes,
    pad_to_multiple,
)

HEADS = 4
HEAD_WIDTH = 32
GROUPS = 8


class StandardConv(nn.Conv2d):
    """Convolution with weights of mean 0 and variance 1 per output channel.

    Weight standardisation, arXiv 1903.10520.
    """

    def forward(self, input: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight.float(), dim=(1, 2, 3), correction=0, keepdim=True)
        weight = (self.weight - mean) * torch.rsqrt(variance + 1e-5)
        return self._conv_forward(input, weight.to(self.weight.dtype), self.bias)


class ChannelGain(nn.Module):
    """Layer norm over the channels of each pixel, with a gain and no bias.

    (B, C, H, W) to the same shape.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, h: Tensor) -> Tensor:
        centred = h - h.mean(dim=1, keepdim=True)  # torch.var_mean is slower over this axis
        variance = centred.square().mean(dim=1, keepdim=True)
        return centred * (torch.rsqrt(variance + 1e-5) * self.gain[:, None, None])


class ResidualBlock(nn.Module):
    """Two convolutions with group norm and SiLU, added to the input.

    The first is scaled and shifted by the time embedding.
    """

    def __init__(self, width: int, out_width: int, embedding: int) -> None:
        super().__init__()
        self.first = StandardConv(width, out_width, 3, padding=1)
        self.first_norm = nn.GroupNorm(GROUPS, out_width)
        self.modulate = ScaleShift(embedding, out_width)
        self.second = StandardConv(out_width, out_width, 3, padding=1)
        self.second_norm = nn.GroupNorm(GROUPS, out_width)
        self.match = nn.Conv2d(width, out_width, 1) if width != out_width else nn.Identity()

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        inner = F.silu(self.modulate(self.first_norm(self.first(h)), embedding))
        return self.match(h) + F.silu(self.second_norm(self.second(inner)))


class LinearAttention(nn.Module):
    """h + attention with softmax(q) over channels and softmax(k) over pixels.

    Its cost grows with H W, not with its square. Per head: context = k v^T (32 x 32), output = context^T q; arXiv 1812.01243.

    Args:
        width: features.
        mean_values: v / (H W) in place of v, as the released codes of the family have it.
    """

    def __init__(self, width: int, mean_values: bool = False) -> None:
        super().__init__()
        self.mean_values = mean_values
        self.norm = ChannelGain(width)
        self.project = nn.Conv2d(width, 3 * HEADS * HEAD_WIDTH, 1, bias=False)
        self.leave = nn.Conv2d(HEADS * HEAD_WIDTH, width, 1)
        self.leave_norm = ChannelGain(width)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = _heads(self.project(self.norm(h)))
        q = q.softmax(dim=2) * HEAD_WIDTH**-0.5
        if self.mean_values:
            v = v / v.shape[-1]
        context = k.softmax(dim=3) @ v.mT
        seen = (context.mT @ q).reshape(len(h), -1, *h.shape[-2:])
        return h + self.leave_norm(self.leave(seen))


class FullAttention(nn.Module):
    """h + softmax(q k^T / sqrt(32)) v between all pixels of (B, C, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelGain(width)
        self.project = nn.Conv2d(width, 3 * HEADS * HEAD_WIDTH, 1, bias=False)
        self.leave = nn.Conv2d(HEADS * HEAD_WIDTH, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = (part.mT.contiguous() for part in _heads(self.project(self.norm(h))))
        seen = F.scaled_dot_product_attention(q, k, v)
        return h + self.leave(seen.mT.reshape(len(h), -1, *h.shape[-2:]))


class SkipLevel(nn.Module):
    """Two blocks at one size, attention, and what leaves to the next level.

    Subclasses build first, second, attend and leave.
    """

    first: nn.Module
    second: nn.Module
    attend: nn.Module
    leave: nn.Module

    def forward(self, h: Tensor, embedding: Tensor, skips: list[Tensor]) -> Tensor:
        """Go down: append two features to skips."""
        h = self.first(h, embedding)
        skips.append(h)
        h = self.attend(self.second(h, embedding))
        skips.append(h)
        return self.leave(h)

    def ascend(self, h: Tensor, embedding: Tensor, skips: list[Tensor]) -> Tensor:
        """Go up: take two features from skips."""
        h = self.first(torch.cat([h, skips.pop()], dim=1), embedding)
        h = self.second(torch.cat([h, skips.pop()], dim=1), embedding)
        return self.leave(self.attend(h))


class AttentionLevel(SkipLevel):
    """Two residual blocks, linear attention, and a convolution to the next level.

    The next level has half, twice or the same size.

    Args:
        width: features.
        skip: channels of the stored features that are concatenated before each residual block on the way up.
        out_width: features of the next level.
        embedding: features of time.
        resize: "down", "up" or "same".
        mean_values: of the attention.
    """

    def __init__(
        self, width: int, skip: int, out_width: int, embedding: int, resize: str, mean_values: bool = False
    ) -> None:
        super().__init__()
        self.first = ResidualBlock(width + skip, width, embedding)
        self.second = ResidualBlock(width + skip, width, embedding)
        self.attend = LinearAttention(width, mean_values)
        if resize == "down":
            self.leave = nn.Conv2d(width, out_width, 4, stride=2, padding=1)
        elif resize == "up":
            self.leave = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(width, out_width, 3, padding=1))
        else:
            self.leave = nn.Conv2d(width, out_width, 3, padding=1)


class UNet(Network):
    """U-Net over [x, y] whose output is added to y (RDBM, arXiv 2510.23116).

    Written from the description. 7x7 convolution to `width` features, one level per multiplier (two weight-standardised residual
    blocks, linear attention, half the size), two residual blocks around full attention in the middle, the same levels upwards, a
    last residual block and a 1x1 convolution, which starts at zero. Group norm and attention see the whole image.

    Args:
        channels: of an image.
        width: features, a multiple of 8.
        multipliers: of width, per level.
        steps: t in [0, 1] is embedded as the index t * steps - offset.
        add_input: return output + y (as in the paper), or the output alone.
        released: the details of the code that RDDM and DiffUIR publish: GELU in the perceptron of the time, attention to
            values divided by the number of pixels, sides padded to a multiple of 2**levels; its times count from 0, offset 1.
        offset: is taken off the index of the time.
        conditions: extra conditions, such as {"depth": "map"}; see `rebridge.networks.conditions`.

    Raises:
        ValueError: a size that is not positive, or a width that is no multiple of 8.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 24,
        multipliers: Sequence[int] = (1, 4, 4, 4),
        steps: int = 100,
        add_input: bool = True,
        released: bool = False,
        offset: float = 0.0,
        conditions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, width=width, steps=steps)
        check_levels(multipliers=multipliers)
        if width % GROUPS:
            raise ValueError(f"width must be a multiple of {GROUPS}, got {width}")
        self.channels = channels
        self.conditions = conditions_of(conditions)
        self.add_input = add_input
        self.multiple = 2 ** (len(multipliers) if released else len(multipliers) - 1)
        embedding = 4 * width
        widths = [width, *(width * multiplier for multiplier in multipliers)]
        steps_down = list(itertools.pairwise(widths))
        resize_down = ["down"] * (len(multipliers) - 1) + ["same"]
        resize_up = ["up"] * (len(multipliers) - 1) + ["same"]
        self.time = TimeEmbedding(embedding, width, scale=float(steps), offset=offset, gelu=released)
        self.head = nn.Conv2d(2 * channels, width, 7, padding=3)
        self.extra = ConditionLayers(self.conditions, 1, width, embedding) if self.conditions else None
        self.descent = nn.ModuleList(
            AttentionLevel(above, 0, below, embedding, resize, released)
            for (above, below), resize in zip(steps_down, resize_down, strict=True)
        )
        self.middle_first = ResidualBlock(widths[-1], widths[-1], embedding)
        self.middle_attend = FullAttention(widths[-1])
        self.middle_second = ResidualBlock(widths[-1], widths[-1], embedding)
        self.ascent = nn.ModuleList(
            AttentionLevel(below, above, above, embedding, resize, released)
            for (above, below), resize in zip(reversed(steps_down), resize_up, strict=True)
        )
        self.last = ResidualBlock(2 * width, width, embedding)
        self.tail = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor, y: Tensor, **conditions: Tensor) -> Tensor:
        """Compute the output for the state x at times t given y; see `Network`."""
        check_inputs(x, t, y, self.channels)
        height, width = x.shape[-2:]
        output = self.decode(*self.encode(x, t, y, **conditions))[..., :height, :width]
        return output + y if self.add_input else output

    def encode(
        self, x: Tensor, t: Tensor, y: Tensor, **conditions: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        """Compute the features of the middle and all that `decode` needs besides.

        These are the features of the first convolution, those kept on the way down, and the embedded time.
        """
        embedding = self.time(t)
        head = self.head(pad_to_multiple(torch.cat([x, y], dim=1), self.multiple))
        if self.extra is not None:
            embedding = self.extra.embedded(conditions, embedding)
            head = self.extra.seen(head, conditions, lambda maps: pad_to_multiple(maps, self.multiple))
        h = head
        skips: list[Tensor] = []
        for level in self.descent:
            h = level(h, embedding, skips)
        h = self.middle_attend(self.middle_first(h, embedding))
        return self.middle_second(h, embedding), head, skips, embedding

    def decode(self, h: Tensor, head: Tensor, skips: list[Tensor], embedding: Tensor) -> Tensor:
        """Compute the output, still padded, from what `encode` returns.

        Uses up the kept features.
        """
        for level in self.ascent:
            h = level.ascend(h, embedding, skips)  # type: ignore[operator]
        output: Tensor = self.tail(self.last(torch.cat([h, head], dim=1), embedding))
        return output


def _heads(projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 3 * heads * 32, H, W) to three of (B, heads, 32, H W)."""
    q, k, v = projected.flatten(2).unflatten(1, (3, HEADS, HEAD_WIDTH)).unbind(1)
    return q, k, v


# The paper gives the parameters of T (0.45 M), B (3.65 M) and L (7.73 M) and, at 256x256, 23.97 and 32.93 "GFLOPs" for
# B and L, but no widths. These are found by search; B and L then need 23.8 and 32.9 GMACs in their convolutions, so
# the paper counts multiply-accumulates. Nothing is known of S. The details are those of the released code of the family
# (`released` of `UNet`), whose index of the time is i at t = (i + 1)/T; released=False builds what earlier versions had.


def rdbm_t(
    channels: int = 3,
    width: int = 8,
    multipliers: Sequence[int] = (1, 2, 3, 6),
    steps: int = 100,
    add_input: bool = True,
    conditions: Mapping[str, Any] | None = None,
    released: bool = True,
) -> UNet:
    """Build RDBM-T, the U-Net of 0.45 M parameters; see `UNet`."""
    return UNet(channels, width, multipliers, steps, add_input, released, float(released), conditions)


def rdbm_s(
    channels: int = 3,
    width: int = 16,
    multipliers: Sequence[int] = (1, 3, 3, 4),
    steps: int = 100,
    add_input: bool = True,
    conditions: Mapping[str, Any] | None = None,
    released: bool = True,
) -> UNet:
    """Build RDBM-S, the U-Net between T and B; see `UNet`."""
    return UNet(channels, width, multipliers, steps, add_input, released, float(released), conditions)


def rdbm_b(
    channels: int = 3,
    width: int = 24,
    multipliers: Sequence[int] = (1, 4, 4, 4),
    steps: int = 100,
    add_input: bool = True,
    conditions: Mapping[str, Any] | None = None,
    released: bool = True,
) -> UNet:
    """Build RDBM-B, the U-Net of 3.65 M parameters; see `UNet`."""
    return UNet(channels, width, multipliers, steps, add_input, released, float(released), conditions)


def rdbm_l(
    channels: int = 3,
    width: int = 32,
    multipliers: Sequence[int] = (1, 3, 4, 4, 4),
    steps: int = 100,
    add_input: bool = True,
    conditions: Mapping[str, Any] | None = None,
    released: bool = True,
) -> UNet:
    """Build RDBM-L, the U-Net of 7.73 M parameters; see `UNet`."""
    return UNet(channels, width, multipliers, steps, add_input, released, float(released), conditions)
