"""Blocks of HI-Diff's transformer: attention, feed-forward, integration.

The transformer is Restormer's U-Net (arXiv 2111.09881); see `rebridge.networks.hidiff`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.layers import ChannelNorm


class ChannelAttention(nn.Module):
    """Restormer's transposed attention: channels attend to channels.

    The weights come from all pixels of the image.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.enter = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.look = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width, bias=False)
        self.leave = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        batch, width, height, breadth = h.shape
        heads = self.look(self.enter(h)).reshape(batch, 3, self.heads, width // self.heads, height * breadth)
        q, k, v = heads.unbind(1)
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2) * self.temperature).softmax(-1)
        return self.leave((weights @ v).reshape(batch, width, height, breadth))


class GatedDepthwise(nn.Module):
    """Restormer's feed-forward part: 1x1, depthwise 3x3, gelu(a) * b, 1x1."""

    def __init__(self, width: int, expansion: float) -> None:
        super().__init__()
        hidden = int(width * expansion)
        self.enter = nn.Conv2d(width, 2 * hidden, 1, bias=False)
        self.look = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.leave = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        a, b = self.look(self.enter(h)).chunk(2, dim=1)
        return self.leave(F.gelu(a) * b)


class GatedDense(nn.Module):
    """A dense 3x3 convolution, the gate a * b, a 1x1 convolution.

    Quick on a CPU, and sees near pixels only. NAFNet, arXiv 2204.04676.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        a, b = self.enter(h).chunk(2, dim=1)
        return self.leave(a * b)


class Block(nn.Module):
    """h + part(scale_shift(norm(h), z)) for each part.

    Scale and shift only where `features` of a single token are given.
    """

    def __init__(self, parts: Sequence[nn.Module], width: int, features: int | None) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.norms = nn.ModuleList(ChannelNorm(width) for _ in parts)
        self.affine = None if features is None else nn.ModuleList(nn.Linear(features, 2 * width) for _ in parts)

    def forward(self, h: Tensor, token: Tensor | None) -> Tensor:
        for place, (norm, part) in enumerate(zip(self.norms, self.parts, strict=True)):
            inner = norm(h)
            if self.affine is not None:
                scale, shift = self.affine[place](token)[:, :, None, None].chunk(2, dim=1)
                inner = inner * (1 + scale) + shift
            h = h + part(inner)
        return h


class Integration(nn.Module):
    """Cross-attention of features (B, C, H, W) to the prior's tokens (B, N, F).

    It is added to the features.
    """

    def __init__(self, width: int, heads: int, features: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_prior = nn.LayerNorm(features)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(features, 2 * width, bias=False)
        self.leave = nn.Linear(width, width)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        height, breadth = h.shape[-2:]
        q = self.query(self.norm(h.permute(0, 2, 3, 1)).flatten(1, 2))
        k, v = self.key_value(self.norm_prior(z)).chunk(2, dim=-1)
        q, k, v = (value.unflatten(-1, (self.heads, -1)).transpose(1, 2) for value in (q, k, v))
        # A handful of keys: written out, this is quicker than scaled_dot_product_attention.
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1).to(v.dtype)
        attended = self.leave((weights @ v).transpose(1, 2).flatten(2))
        return h + attended.unflatten(1, (height, breadth)).permute(0, 3, 1, 2)


class Level(nn.Module):
    """The blocks of one level.

    They follow the integration of several tokens, or have one token in each of them.
    """

    def __init__(
        self, width: int, blocks: int, heads: int, tokens: int, features: int, expansion: float, dense: bool
    ) -> None:
        super().__init__()
        self.integrate = Integration(width, heads, features) if tokens > 1 else None
        token = features if tokens == 1 else None
        self.blocks = nn.ModuleList(
            Block(
                [GatedDense(width)] if dense else [ChannelAttention(width, heads), GatedDepthwise(width, expansion)],
                width,
                token,
            )
            for _ in range(blocks)
        )

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        if self.integrate is not None:
            h = self.integrate(h, z)
        for block in self.blocks:
            h = block(h, None if self.integrate is not None else z[:, 0])
        return h


class Fewer(nn.Module):
    """Linear maps over tokens and over features: (B, N, F) -> (B, n, F)."""

    def __init__(self, tokens: int, fewer: int, features: int) -> None:
        super().__init__()
        self.tokens = nn.Linear(tokens, fewer)
        self.features = nn.Linear(features, features)

    def forward(self, z: Tensor) -> Tensor:
        return self.features(self.tokens(z.transpose(-1, -2)).transpose(-1, -2))
