"""HI-Diff: a transformer conditioned at every scale on a latent prior.

The transformer is Restormer's U-Net (arXiv 2111.09881). At the start of each level the features h attend to the prior's tokens z,

    h + proj(softmax(q(h) k(z)^T / sqrt(d)) v(z)),

16 tokens at the finest level, 4 below; at the coarsest one token scales and shifts what every block takes in. The prior comes
from `rebridge.networks.latent_prior`. Chen et al., arXiv 2305.12966; stages and losses in `rebridge.training.methods.hidiff`.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.hidiff_blocks import Fewer, Level
from rebridge.networks.latent_prior import LatentDenoiser, LatentDiffusion, LatentEncoder
from rebridge.networks.layers import Network, check_inputs, check_levels, check_sizes, pad_to_multiple

Prior = Literal["diffusion", "none"]
Form = Literal["gopro", "realblur"]


@dataclass(frozen=True)
class HiDiffConfig:
    """The settings of a `HiDiff`.

    The defaults are the size of the paper, by the options of its released code.

    Attributes:
        channels: of an image.
        widths, blocks, heads: of the levels, from fine to coarse.
        refinement: further blocks at the finest level.
        expansion: of the feed-forward parts.
        unshuffle: side of the squares of pixels that become channels before the first level.
        dense: so many of the finest levels have dense convolutions in place of attention.
        wide_top: no reduction of channels before the last level.
        side, features: the prior has side^2 tokens of so many numbers.
        encoder_width, encoder_blocks, spectra: of the prior's encoders.
        denoiser_width, denoiser_blocks, steps: of its diffusion.
        prior: "diffusion", or "none" for learned tokens that are the same for every image, the comparison without a prior.
        window: largest side of an image that is restored in one piece; `Restorer` takes larger ones in overlapping tiles of that
            size, because the tokens and the attention over channels are statistics of the whole image (as TLC, arXiv 2112.04491,
            found necessary). Not below the patch size of training. None for whole images, as the authors restore them.
        released: the authors' own encoder, denoiser and start, see `rebridge.networks.hidiff_released`, for images in [0, 1].
        form: of the released network: "gopro" or "realblur".
        random_start: the released diffusion starts from fresh noise at each call, instead of one noise for all images.
    """

    channels: int = 3
    widths: Sequence[int] = (48, 96, 192, 384)
    blocks: Sequence[int] = (3, 5, 6, 6)
    heads: Sequence[int] = (1, 2, 4, 8)
    refinement: int = 4
    expansion: float = 2.66
    unshuffle: int = 1
    dense: int = 0
    wide_top: bool = True
    side: int = 4
    features: int = 256
    encoder_width: int = 64
    encoder_blocks: int = 6
    spectra: int = 0
    denoiser_width: int = 512
    denoiser_blocks: int = 2
    steps: int = 8
    prior: Prior = "diffusion"
    window: int | None = 384
    released: bool = False
    form: Form = "gopro"
    random_start: bool = True

    @property
    def tokens(self) -> int:
        """Number of tokens of the prior."""
        return self.side * self.side

    def check(self) -> None:
        """Raise ValueError for sizes that are impossible or do not fit one another."""
        check_levels(widths=self.widths, blocks=self.blocks, heads=self.heads)
        check_sizes(
            channels=self.channels,
            unshuffle=self.unshuffle,
            side=self.side,
            features=self.features,
            window=self.window or 1,
        )
        check_sizes(encoder_width=self.encoder_width, denoiser_width=self.denoiser_width)
        counts = len(self.widths), len(self.blocks), len(self.heads)
        if not counts[0] == counts[1] == counts[2] >= 3:
            raise ValueError(
                f"widths, blocks and heads must be alike and at least 3, got {counts[0]}, {counts[1]} and {counts[2]}"
            )
        if self.spectra < 0:
            raise ValueError(f"spectra must be at least 0, got {self.spectra}")
        if self.prior not in ("diffusion", "none"):
            raise ValueError(f"prior must be diffusion or none, got {self.prior!r}")


PAPER = HiDiffConfig()
TINY = HiDiffConfig(
    widths=(32, 48, 64, 96),
    blocks=(1, 2, 3, 3),
    heads=(1, 2, 4, 4),
    refinement=0,
    expansion=2.0,
    unshuffle=2,
    dense=2,
    wide_top=False,
    features=64,
    encoder_width=32,
    encoder_blocks=2,
    spectra=128,
    denoiser_width=128,
    window=256,
)
"""A size for one CPU core.

Dense convolutions at the two finest levels, attention at 1/8 and 1/16 of the size.
"""


class Transformer(nn.Module):
    """The raw output x0_hat - y, (B, C, H, W), from y and the tokens z.

    H and W are multiples of `multiple`.
    """

    def __init__(self, config: HiDiffConfig) -> None:
        super().__init__()
        channels, widths, blocks, heads = config.channels, config.widths, config.blocks, config.heads
        unshuffle, dense, tokens, features = config.unshuffle, config.dense, config.tokens, config.features
        levels = len(widths)
        self.unshuffle = unshuffle
        self.multiple = unshuffle * 2 ** (levels - 1)
        counts = [tokens, *[max(tokens // 4, 2)] * (levels - 2), 1]
        self.fewer = nn.ModuleList([Fewer(tokens, counts[1], features), Fewer(counts[1], 1, features)])
        self.sources = [0, *[1] * (levels - 2), 2]

        def level(place: int, width: int, count: int) -> Level:
            return Level(width, count, heads[place], counts[place], features, config.expansion, place < dense)

        top = 2 * widths[0] if config.wide_top else widths[0]
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
        self.refine = level(0, top, config.refinement) if config.refinement else None
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


class PriorNetwork(Network):
    """Base of the transformer with a latent prior; subclasses make the prior.

    The raw output is x0_hat - y; x and t are not used.
    """

    latent_shape: tuple[int, int]
    """Tokens of the prior, and their features."""
    transformer: Transformer

    def prior(self, y: Tensor, clean: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """The tokens z (B, N, F) for degraded images y (B, C, H, W).

        Args:
            y: degraded images.
            clean: if given, z is the teacher's, from (clean, y).
            noise: the start z_T (B, N, F) of the diffusion; by default the network's own.
        """
        raise NotImplementedError("a network with a latent prior defines prior(y, clean, noise)")

    def training_start(self, z: Tensor, noise: Tensor) -> Tensor:
        """The start z_T of the diffusion in training.

        Args:
            z: the teacher's tokens (B, N, F).
            noise: of N(0, I), alike.
        """
        return noise

    def begin_stage(self, stage: int) -> None:
        """Freeze what a stage of training leaves alone.

        Raises:
            ValueError: a stage that does not exist.
        """
        raise NotImplementedError("a network with a latent prior defines begin_stage(stage)")

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor, clean: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """x0_hat - y, (B, C, H, W); clean and noise as in `prior`."""
        check_inputs(x, t, y, self.channels)
        return self.restore_with_prior(y, clean, noise)[0]

    def restore_with_prior(
        self, y: Tensor, clean: Tensor | None = None, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """x0_hat - y, (B, C, H, W), and the tokens z (B, N, F) it was made with.

        clean and noise as in `prior`.
        """
        z = self.prior(y, clean, noise)
        height, width = y.shape[-2:]
        return self.transformer(pad_to_multiple(y, self.multiple), z)[..., :height, :width], z


class HiDiff(PriorNetwork):
    """The transformer with its latent prior.

    The raw output is x0_hat - y; x and t are not used.
    """

    start: Tensor

    def __init__(self, sizes: HiDiffConfig) -> None:
        super().__init__()
        sizes.check()
        self.channels = sizes.channels
        self.window = sizes.window
        tokens, features = sizes.tokens, sizes.features
        self.latent_shape = (tokens, features)
        self.transformer = Transformer(sizes)
        self.multiple = math.lcm(4, self.transformer.multiple)
        self.tokens = nn.Parameter(0.5 * torch.randn(1, tokens, features)) if sizes.prior == "none" else None
        if sizes.prior == "diffusion":
            encoder = (sizes.encoder_width, sizes.encoder_blocks, sizes.side, features, sizes.spectra)
            self.teacher = LatentEncoder(2, sizes.channels, *encoder)
            self.encoder = LatentEncoder(1, sizes.channels, *encoder)
            denoiser = LatentDenoiser(tokens, features, sizes.denoiser_width, sizes.denoiser_blocks)
            self.diffusion = LatentDiffusion(denoiser, sizes.steps)
            start = torch.randn(1, tokens, features, generator=torch.Generator().manual_seed(0))
            self.register_buffer("start", start)

    def prior(self, y: Tensor, clean: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """The tokens z (B, N, F) for degraded images y (B, C, H, W).

        The default start is the same for every image, so that restoring is deterministic.
        """
        if self.tokens is not None:
            return self.tokens.expand(y.shape[0], -1, -1)
        padded = pad_to_multiple(y, self.multiple)
        if clean is not None:
            return self.teacher(pad_to_multiple(clean, self.multiple), padded)
        c = self.encoder(padded)
        return self.diffusion(c, self.start.expand(y.shape[0], -1, -1).to(c.dtype) if noise is None else noise)

    def begin_stage(self, stage: int) -> None:
        """Freeze what a stage of training leaves alone.

        The diffusion in stage 1, the teacher in stage 2.

        Without a prior there is one stage, and nothing is frozen; stage 2 then raises ValueError.
        """
        if self.tokens is not None:
            if stage != 1:
                raise ValueError("a network with prior 'none' has no stage 2")
            return
        freeze_for(stage, self.teacher, self.encoder, self.diffusion)


def freeze_for(stage: int, teacher: nn.Module, encoder: nn.Module, diffusion: nn.Module) -> None:
    """Train the teacher in stage 1, and what predicts its tokens in stage 2."""
    for part, trained in ((teacher, stage == 1), (encoder, stage == 2), (diffusion, stage == 2)):
        part.requires_grad_(trained)
