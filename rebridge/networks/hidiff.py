"""HI-Diff: a transformer that restores from y, told by a compact latent prior at every scale what to aim for.

The transformer is Restormer's U-Net (arXiv 2111.09881). At the start of each level the features h ask the prior's tokens z,

    h + proj(softmax(q(h) k(z)^T / sqrt(d)) v(z)),

16 tokens at the finest level, 4 below; at the coarsest one token scales and shifts what every block takes in. The prior comes
from `rebridge.networks.latent_prior`. Chen et al., arXiv 2305.12966; stages and losses in `rebridge.training.recipes`.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.latent_prior import LatentDenoiser, LatentDiffusion, LatentEncoder
from rebridge.networks.layers import ChannelNorm, Network, check_inputs, check_sizes, pad_to_multiple

Prior = Literal["diffusion", "none"]


class ChannelAttention(nn.Module):
    """Restormer's transposed attention: channels attend to channels, with weights from all pixels of the image."""

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
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * self.temperature).softmax(-1)
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
    """A dense 3x3 convolution, the gate a * b (NAFNet, arXiv 2204.04676), 1x1: quick on a CPU, and sees near pixels only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        a, b = self.enter(h).chunk(2, dim=1)
        return self.leave(a * b)


class Block(nn.Module):
    """h + part(scale_shift(norm(h), z)) for each part; scale and shift only where `features` of a single token are given."""

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
    """Cross-attention of features (B, C, H, W) to the prior's tokens (B, N, F), added to the features."""

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
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1).to(v.dtype)
        told = self.leave((weights @ v).transpose(1, 2).flatten(2))
        return h + told.unflatten(1, (height, breadth)).permute(0, 3, 1, 2)


class Level(nn.Module):
    """The blocks of one level, after the integration of several tokens, or with one token in each of them."""

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
    """Fewer tokens: a linear map over tokens, then one over features; (B, N, F) -> (B, n, F)."""

    def __init__(self, tokens: int, fewer: int, features: int) -> None:
        super().__init__()
        self.tokens = nn.Linear(tokens, fewer)
        self.features = nn.Linear(features, features)

    def forward(self, z: Tensor) -> Tensor:
        return self.features(self.tokens(z.mT).mT)


class Transformer(nn.Module):
    """The raw output x0_hat - y, (B, C, H, W), from y and the tokens z; H and W multiples of `multiple`."""

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        heads: Sequence[int],
        refinement: int,
        expansion: float,
        unshuffle: int,
        dense: int,
        wide_top: bool,
        tokens: int,
        features: int,
    ) -> None:
        super().__init__()
        levels = len(widths)
        self.unshuffle = unshuffle
        self.multiple = unshuffle * 2 ** (levels - 1)
        counts = [tokens, *[max(tokens // 4, 2)] * (levels - 2), 1]
        self.fewer = nn.ModuleList([Fewer(tokens, counts[1], features), Fewer(counts[1], 1, features)])
        self.sources = [0, *[1] * (levels - 2), 2]

        def level(place: int, width: int, count: int) -> Level:
            return Level(width, count, heads[place], counts[place], features, expansion, place < dense)

        top = 2 * widths[0] if wide_top else widths[0]
        above = [top, *widths[1:-1]]
        self.head = nn.Conv2d(channels * unshuffle**2, widths[0], 3, padding=1)
        self.before = nn.ModuleList(level(i, widths[i], blocks[i]) for i in range(levels))
        self.down = nn.ModuleList(
            nn.Conv2d(width, deeper // 4, 3, padding=1, bias=False) for width, deeper in itertools.pairwise(widths)
        )
        deeper = [*above[1:], widths[-1]]
        self.up = nn.ModuleList(
            nn.Conv2d(below, 4 * width, 3 if dense == 0 else 1, padding=int(dense == 0), bias=False)
            for below, width in zip(deeper, widths[:-1], strict=True)
        )
        self.merge = nn.ModuleList(
            nn.Identity() if 2 * width == wide else nn.Conv2d(2 * width, wide, 1, bias=False)
            for width, wide in zip(widths[:-1], above, strict=True)
        )
        self.after = nn.ModuleList(level(i, above[i], blocks[i]) for i in range(levels - 1))
        self.refine = level(0, top, refinement) if refinement else None
        self.tail = nn.Conv2d(top, channels * unshuffle**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        scales = [z, self.fewer[0](z)]
        scales.append(self.fewer[1](scales[1]))
        pixels = F.pixel_unshuffle(y, self.unshuffle) if self.unshuffle > 1 else y
        h = self.head(pixels.contiguous(memory_format=torch.channels_last))
        kept = []
        for place, level in enumerate(self.before):
            h = level(h, scales[self.sources[place]])
            if place < len(self.down):
                kept.append(h)
                h = F.pixel_unshuffle(self.down[place](h), 2)
        for place in reversed(range(len(self.down))):
            h = torch.cat([F.pixel_shuffle(self.up[place](h), 2), kept[place]], dim=1)
            h = self.after[place](self.merge[place](h), scales[self.sources[place]])
        if self.refine is not None:
            h = self.refine(h, scales[0])
        out = self.tail(h)
        return F.pixel_shuffle(out, self.unshuffle) if self.unshuffle > 1 else out


class HiDiff(Network):
    """The transformer with its latent prior as a network of the library: the raw output is x0_hat - y; x and t are not used.

    widths, blocks, heads: of the levels, from fine to coarse. refinement: further blocks at the finest level. expansion: of the
    feed-forward parts. unshuffle: side of the squares of pixels that become channels before the first level. dense: so many of
    the finest levels have dense convolutions in place of attention. wide_top: no reduction of channels before the last level.
    side, features: the prior has side^2 tokens of so many numbers. encoder_width, encoder_blocks, spectra, denoiser_width,
    denoiser_blocks, steps: of its encoders and its diffusion. prior: "diffusion", or "none" for learned tokens that are the
    same for every image, the comparison without a prior. window: largest side of an image that is restored in one piece;
    `Restorer` takes larger ones in overlapping tiles of that size, because the tokens and the attention over channels are
    statistics of the whole image (as TLC, arXiv 2112.04491, found necessary). Not below the patch size of training.
    """

    start: Tensor

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        heads: Sequence[int],
        refinement: int,
        expansion: float,
        unshuffle: int,
        dense: int,
        wide_top: bool,
        side: int,
        features: int,
        encoder_width: int,
        encoder_blocks: int,
        spectra: int,
        denoiser_width: int,
        denoiser_blocks: int,
        steps: int,
        prior: Prior,
        window: int,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, widths=widths, blocks=blocks, heads=heads, unshuffle=unshuffle, side=side)
        check_sizes(features=features, encoder_width=encoder_width, denoiser_width=denoiser_width, window=window)
        if not len(widths) == len(blocks) == len(heads) >= 3:
            raise ValueError(
                f"widths, blocks and heads must be alike and at least 3, got {len(widths)}, {len(blocks)} and {len(heads)}"
            )
        if spectra < 0:
            raise ValueError(f"spectra must be at least 0, got {spectra}")
        if prior not in ("diffusion", "none"):
            raise ValueError(f"prior must be diffusion or none, got {prior!r}")
        self.channels = channels
        self.window = window
        tokens = side * side
        self.latent_shape = (tokens, features)
        self.transformer = Transformer(
            channels, widths, blocks, heads, refinement, expansion, unshuffle, dense, wide_top, tokens, features
        )
        self.multiple = math.lcm(4, self.transformer.multiple)
        self.tokens = nn.Parameter(0.5 * torch.randn(1, tokens, features)) if prior == "none" else None
        if prior == "diffusion":
            self.teacher = LatentEncoder(2, channels, encoder_width, encoder_blocks, side, features, spectra)
            self.encoder = LatentEncoder(1, channels, encoder_width, encoder_blocks, side, features, spectra)
            denoiser = LatentDenoiser(tokens, features, denoiser_width, denoiser_blocks)
            self.diffusion = LatentDiffusion(denoiser, steps)
            start = torch.randn(1, tokens, features, generator=torch.Generator().manual_seed(0))
            self.register_buffer("start", start)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        y: Tensor,
        clean: Tensor | None = None,
        noise: Tensor | None = None,
        with_prior: bool = False,
    ) -> Any:
        """x0_hat - y, (B, C, H, W), or a pair with z (B, N, F); clean and noise as in `prior`."""
        check_inputs(x, t, y, self.channels)
        z = self.prior(y, clean, noise)
        height, width = y.shape[-2:]
        output = self.transformer(pad_to_multiple(y, self.multiple), z)[..., :height, :width]
        return (output, z) if with_prior else output

    def prior(self, y: Tensor, clean: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """The tokens z (B, N, F) for degraded images y (B, C, H, W).

        clean: if given, z is the teacher's, from (clean, y). noise: z_T (B, N, F); by default the model's own, the same for every
        image, so that restoring is deterministic.
        """
        if self.tokens is not None:
            return self.tokens.expand(len(y), -1, -1)
        padded = pad_to_multiple(y, self.multiple)
        if clean is not None:
            return self.teacher(pad_to_multiple(clean, self.multiple), padded)
        c = self.encoder(padded)
        return self.diffusion(c, self.start.expand(len(y), -1, -1).to(c.dtype) if noise is None else noise)

    def begin_stage(self, stage: int) -> None:
        """Freeze what a stage of training leaves alone: the diffusion in stage 1, the teacher in stage 2.

        Without a prior there is one stage, and nothing is frozen; stage 2 then raises ValueError.
        """
        if self.tokens is not None:
            if stage != 1:
                raise ValueError("a network with prior 'none' has no stage 2")
            return
        for part, trained in ((self.teacher, stage == 1), (self.encoder, stage == 2), (self.diffusion, stage == 2)):
            part.requires_grad_(trained)


def hi_diff(
    channels: int = 3,
    widths: Sequence[int] = (48, 96, 192, 384),
    blocks: Sequence[int] = (3, 5, 6, 6),
    heads: Sequence[int] = (1, 2, 4, 8),
    refinement: int = 4,
    expansion: float = 2.66,
    unshuffle: int = 1,
    dense: int = 0,
    wide_top: bool = True,
    side: int = 4,
    features: int = 256,
    encoder_width: int = 64,
    encoder_blocks: int = 6,
    spectra: int = 0,
    denoiser_width: int = 512,
    denoiser_blocks: int = 2,
    steps: int = 8,
    prior: Prior = "diffusion",
    window: int = 384,
) -> HiDiff:
    """The size of the paper, by the options of its released code."""
    return HiDiff(**locals())


def hi_diff_tiny(
    channels: int = 3,
    widths: Sequence[int] = (32, 48, 64, 96),
    blocks: Sequence[int] = (1, 2, 3, 3),
    heads: Sequence[int] = (1, 2, 4, 4),
    refinement: int = 0,
    expansion: float = 2.0,
    unshuffle: int = 2,
    dense: int = 2,
    wide_top: bool = False,
    side: int = 4,
    features: int = 64,
    encoder_width: int = 32,
    encoder_blocks: int = 2,
    spectra: int = 128,
    denoiser_width: int = 128,
    denoiser_blocks: int = 2,
    steps: int = 8,
    prior: Prior = "diffusion",
    window: int = 256,
) -> HiDiff:
    """A size for one CPU core: dense convolutions at the two finest levels, attention at 1/8 and 1/16 of the size."""
    return HiDiff(**locals())
