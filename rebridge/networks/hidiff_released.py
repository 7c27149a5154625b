"""HI-Diff as released: `hidiff`'s transformer with the authors' own priors.

GoPro's weights end encoder and denoiser in a GELU, predict the noise at the step 1 ... 8, which a learned number scales, and
clamp z0_hat. RealBlur's have leaky ReLUs, a wider end of the encoder, and a perceptron that predicts z0 in 16 steps, unclamped.
Chen et al., arXiv 2305.12966; zhengchen1999/HI-Diff.
"""

import itertools
import math
import operator
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.hidiff import HiDiffConfig, PriorNetwork, Transformer, freeze_for
from rebridge.networks.hidiff_blocks import Block
from rebridge.networks.latent_prior import LatentEncoder, TokenMixer
from rebridge.networks.layers import check_levels, check_sizes, pad_to_multiple

FORMS = ("gopro", "realblur")
SLOPE = 0.1
"""Of RealBlur's leaky ReLUs."""
PERIOD = 50.0
"""What RealBlur's denoiser divides the step by."""


class WideEncoder(nn.Module):
    """RealBlur's encoder of images to tokens.

    4x4-unshuffled pixels, residual blocks, three widening convolutions, means of the cells of a grid, a mixer.
    """

    def __init__(self, images: int, channels: int, width: int, blocks: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.enter = nn.Conv2d(16 * images * channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(blocks)
        )
        self.widen = nn.ModuleList(
            nn.Conv2d(before * width, after * width, 3, padding=1) for before, after in ((1, 2), (2, 2), (2, 4))
        )
        self.mixer = TokenMixer(side * side, 4 * width, expansion=4)
        self.leave = nn.Linear(4 * width, 4 * width)

    def forward(self, *images: Tensor) -> Tensor:
        """Tokens (B, side^2, 4 width) of images (B, C, H, W), H and W multiples of 4."""
        h = F.leaky_relu(self.enter(F.pixel_unshuffle(torch.cat(images, dim=1), 4)), SLOPE)
        for block in self.blocks:
            h = h + block(h)
        for layer in self.widen:
            h = F.leaky_relu(layer(h), SLOPE)
        cells = F.adaptive_avg_pool2d(h, self.side)
        return F.leaky_relu(self.leave(self.mixer(cells.flatten(2).mT)), SLOPE)


class NoiseDenoiser(nn.Module):
    """GoPro's denoiser: the noise in z from z, the scaled step and the condition c."""

    def __init__(self, tokens: int, features: int, width: int, blocks: int) -> None:
        super().__init__()
        self.time = nn.Parameter(torch.full((1,), 1e-3))
        self.enter = nn.Linear(3 * features, width)
        self.blocks = nn.ModuleList(TokenMixer(tokens, width, expansion=2) for _ in range(blocks))
        self.leave = nn.Linear(width, features)

    def forward(self, z: Tensor, step: Tensor, c: Tensor) -> Tensor:
        """Noise (B, N, F) in z at the steps 1 ... T, (B,); c like z."""
        time = (step.to(z.dtype)[:, None, None] * self.time).expand_as(z)
        h = F.leaky_relu(self.enter(torch.cat([z, time, c], dim=-1)), 0.2)
        for block in self.blocks:
            h = F.gelu(block(h))
        return F.gelu(self.leave(h))


class PlainDenoiser(nn.Module):
    """RealBlur's denoiser, a perceptron of each token: z0 from c, the step and z."""

    def __init__(self, features: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(2 * features + 1 if i == 0 else features, features) for i in range(layers)
        )

    def forward(self, z: Tensor, step: Tensor, c: Tensor) -> Tensor:
        """Predict z0 (B, N, F) from z at the steps 1 ... T, (B,); c like z."""
        time = ((step.to(z.dtype) - 1) / PERIOD)[:, None, None].expand(*z.shape[:-1], 1)
        h = torch.cat([c, time, z], dim=-1)
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
        return h


class ReleasedDiffusion(nn.Module):
    """Diffusion of the prior by a denoiser that predicts the noise, or z0.

    From the noise z0 is clamped; a predicted z0 is taken as it is. The authors' two codes mean different things by a
    linear schedule from 0.1 to 0.99: of the betas where the noise is predicted, of their square roots where z0 is.
    """

    def __init__(self, denoiser: nn.Module, steps: int, noise: bool) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.steps = steps
        self.noise = noise
        power = 1 if noise else 2
        low, high = 0.1 ** (1 / power), 0.99 ** (1 / power)
        self.betas = [(low + (high - low) * i / max(steps - 1, 1)) ** power for i in range(steps)]
        self.kept = [1.0, *itertools.accumulate((1 - beta for beta in self.betas), operator.mul)]
        """Products of 1 - beta up to each step."""

    def training_start(self, z: Tensor, noise: Tensor) -> Tensor:
        """The state after the last step, from z_0 and noise of N(0, I), all (B, N, F).

        The code that predicts the noise takes the product of 1 - beta where its root is meant; both are below 0.006.
        """
        share = self.kept[-1] if self.noise else math.sqrt(self.kept[-1])
        return share * z + math.sqrt(1 - share * share) * noise

    def forward(self, c: Tensor, noise: Tensor) -> Tensor:
        """Predict z_0 from the condition c and noise of N(0, I), all (B, N, F)."""
        z = noise
        for i in range(self.steps, 0, -1):
            beta, kept, before = self.betas[i - 1], self.kept[i], self.kept[i - 1]
            z0 = self.denoiser(z, torch.full((len(z),), i, device=z.device), c)
            if self.noise:
                z0 = ((z - math.sqrt(1 - kept) * z0) / math.sqrt(kept)).clamp(-1, 1)
            z = (math.sqrt(before) * beta * z0 + math.sqrt(1 - beta) * (1 - before) * z) / (1 - kept)
        return z


class ReleasedHiDiff(PriorNetwork):
    """HI-Diff with the released prior; outputs x0_hat - y in [0, 1] units.

    x and t are not used.

    Args:
        channels: Channels of an image.
        widths: Features of the levels, from fine to coarse.
        blocks: Blocks of the levels.
        heads: Attention heads of the levels.
        refinement: Further blocks at the finest level.
        expansion: Of the feed-forward parts: 2.66 for GoPro, 2 for RealBlur.
        form: "gopro" or "realblur", what the prior is made of.
        side: The prior has side^2 tokens.
        encoder_width: Features of the encoder; a token has four times as many.
        encoder_blocks: Its residual blocks.
        denoiser_width: Features of GoPro's denoiser.
        denoiser_blocks: Its mixers, or the layers of RealBlur's perceptron.
        steps: Of the diffusion of the prior: 8, or 16 for RealBlur.
        random_start: Draw the noise that the prior starts from anew at each call, as the authors do; otherwise it is
            the same for every image, so that restoring is deterministic.
        teacher: Hold the encoder of clean and degraded image too, which only training needs.
        window: Largest side of an image that is restored in one piece; None for any.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (48, 96, 192, 384),
        blocks: Sequence[int] = (3, 5, 6, 6),
        heads: Sequence[int] = (1, 2, 4, 8),
        refinement: int = 4,
        expansion: float = 2.66,
        form: str = "gopro",
        side: int = 4,
        encoder_width: int = 64,
        encoder_blocks: int = 6,
        denoiser_width: int = 512,
        denoiser_blocks: int = 2,
        steps: int = 8,
        random_start: bool = False,
        teacher: bool = False,
        window: int | None = None,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, side=side, steps=steps)
        check_levels(widths=widths, blocks=blocks, heads=heads)
        if form not in FORMS:
            raise ValueError(f"form must be gopro or realblur, got {form!r}")
        self.channels = channels
        self.window = window
        self.random_start = random_start
        tokens, features = side * side, 4 * encoder_width
        self.latent_shape = (tokens, features)
        self.transformer = Transformer(
            HiDiffConfig(
                channels=channels,
                widths=widths,
                blocks=blocks,
                heads=heads,
                refinement=refinement,
                expansion=expansion,
                side=side,
                features=features,
            )
        )
        self.transformer.head = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.transformer.tail = nn.Conv2d(2 * widths[0], channels, 3, padding=1, bias=False)
        self.multiple = math.lcm(4, self.transformer.multiple)
        _as_released(self.transformer)
        gopro = form == "gopro"
        self.teacher = _encoder(gopro, 2, channels, encoder_width, encoder_blocks, side) if teacher else None
        self.encoder = _encoder(gopro, 1, channels, encoder_width, encoder_blocks, side)
        denoiser: nn.Module
        if gopro:
            denoiser = NoiseDenoiser(tokens, features, denoiser_width, denoiser_blocks)
        else:
            denoiser = PlainDenoiser(features, denoiser_blocks)
        self.diffusion = ReleasedDiffusion(denoiser, steps, noise=gopro)

    def prior(self, y: Tensor, clean: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """The tokens z (B, N, F) for degraded images y (B, C, H, W) in [0, 1].

        The default start is as `random_start` says. Raises ValueError for `clean` without a teacher.
        """
        padded = pad_to_multiple(y, self.multiple)
        if clean is not None:
            if self.teacher is None:
                raise ValueError("this network has no teacher: build it with teacher=True")
            teacher: Tensor = self.teacher(pad_to_multiple(clean, self.multiple), padded)
            return teacher
        c = self.encoder(padded)
        z: Tensor = self.diffusion(c, self.start(c) if noise is None else noise)
        return z

    def start(self, c: Tensor) -> Tensor:
        """The noise z_T that the prior starts from, like the condition c (B, N, F)."""
        if self.random_start:
            return torch.randn_like(c)
        fixed = torch.randn(1, *self.latent_shape, generator=torch.Generator().manual_seed(0))
        return fixed.to(c).expand_as(c)

    def training_start(self, z: Tensor, noise: Tensor) -> Tensor:
        """The teacher's z after all steps of noising."""
        return self.diffusion.training_start(z, noise)

    def begin_stage(self, stage: int) -> None:
        """Freeze the diffusion in stage 1, the teacher in stage 2."""
        if self.teacher is None:
            raise ValueError("this network has no teacher to train with: build it with teacher=True")
        freeze_for(stage, self.teacher, self.encoder, self.diffusion)


def _encoder(gopro: bool, images: int, channels: int, width: int, blocks: int, side: int) -> nn.Module:
    """The encoder of so many images of one form."""
    if gopro:
        return LatentEncoder(images, channels, width, blocks, side, 4 * width, end="gelu")
    return WideEncoder(images, channels, width, blocks, side)


def _as_released(transformer: Transformer) -> None:
    """Begin as the authors' code does: scales of about 0 instead of about 1, where one token scales and shifts."""
    for module in transformer.modules():
        if isinstance(module, Block) and module.affine is not None:
            for layer in module.affine:
                assert isinstance(layer, nn.Linear)
                with torch.no_grad():
                    layer.bias[: len(layer.bias) // 2] -= 1
