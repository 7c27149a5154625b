"""HI-Diff's compact prior.

An encoder to a few tokens, and a diffusion of eight steps that predicts them from y alone.

The tokens z (B, N, F) describe what a restored image should look like. In training an encoder sees them in (clean, degraded); at
inference a diffusion in their space, conditioned on the encoded degraded image c, starts from noise and takes for i = T ... 1

    z0_hat  = clamp(denoiser(z_i, i / T, c), -1, 1)
    z_{i-1} = sqrt(A_{i-1}) b_i / (1 - A_i) z0_hat + sqrt(a_i) (1 - A_{i-1}) / (1 - A_i) z_i,   a_i = 1 - b_i,  A_i = a_1 ... a_i

the mean of the Markov posterior, without its noise, b from 0.1 to 0.99. Chen et al., arXiv 2305.12966, section 3.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.equaliser import log_fall, power_spectra
from rebridge.networks.exporting import cell_means, exporting
from rebridge.networks.layers import at_least_float32, pad_to_multiple, zero_init

WINDOW = 64
"""Side in pixels of the half overlapping windows whose power spectra the encoders look at."""


class TokenMixer(nn.Module):
    """z + mlp over tokens, then over features (MLP-Mixer): (B, N, width) -> same."""

    def __init__(self, tokens: int, width: int, expansion: int) -> None:
        super().__init__()
        hidden = max(tokens // 2, 1)
        self.norm_tokens = nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, hidden), nn.GELU(), nn.Linear(hidden, tokens))
        self.norm_features = nn.LayerNorm(width)
        self.features = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(self, z: Tensor) -> Tensor:
        z = z + self.tokens(self.norm_tokens(z).transpose(-1, -2)).transpose(-1, -2)
        return z + self.features(self.norm_features(z))


class SpectralTokens(nn.Module):
    """Tokens (B, N, F) from power spectra.

    They describe the spectrum of one image, or the ratio of those of two.

    A blur multiplies the spectrum, so the ratio of the spectra of clean and degraded image is the blur's own, and because images
    have much the same spectrum (power falls as 1/f^2) that of the degraded image alone hints at it.
    """

    fall: Tensor

    def __init__(self, hidden: int, tokens: int, features: int) -> None:
        super().__init__()
        self.shape = (tokens, features)
        expected = torch.exp(-log_fall(torch.empty(WINDOW, WINDOW // 2 + 1)))
        self.register_buffer("fall", _pool(expected).log(), persistent=False)
        count = self.fall.numel()
        self.enter = nn.Linear(count, hidden)
        self.leave = nn.Linear(hidden, tokens * features)

    def forward(self, *images: Tensor) -> Tensor:
        first, *second = (log_spectrum(image) for image in images)
        levels = second[0] - first if second else first - self.fall
        tokens: Tensor = self.leave(F.gelu(self.enter(levels.flatten(1) / 3)))
        return tokens.unflatten(-1, self.shape)


class LatentEncoder(nn.Module):
    """Images to side^2 tokens in (-1, 1).

    4x4-unshuffled pixels, residual blocks, the mean of each cell of a grid, a mixer.

    images: how many images of `channels` channels go in together. Each token is a mean over 1/side^2 of the image, so it
    depends on how large the image is: see `HiDiff`'s window. The authors' encoder ends in a GELU; here the tokens are
    normalised and a hyperbolic tangent, which therefore cannot saturate, keeps them where the diffusion clamps them (derived).
    spectra: features of a second way to the tokens, by `SpectralTokens`; 0 for none, as published. Means of what convolutions
    give show little of a blur, and beside them a weak signal is lost, so the first way begins with zero weights then.
    end: "tanh" of normalised tokens, or the authors' "gelu".
    """

    def __init__(
        self,
        images: int,
        channels: int,
        width: int,
        blocks: int,
        side: int,
        features: int,
        spectra: int = 0,
        end: str = "tanh",
    ) -> None:
        super().__init__()
        if end not in ("tanh", "gelu"):
            raise ValueError(f"end must be tanh or gelu, got {end!r}")
        self.side = side
        self.end = end
        self.enter = nn.Conv2d(16 * images * channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1))
            for _ in range(blocks)
        )
        self.gather = nn.Conv2d(width, width, 3, padding=1)
        self.mixer = TokenMixer(side * side, width, expansion=4)
        self.leave = nn.Linear(width, features)
        self.spectra = SpectralTokens(spectra, side * side, features) if spectra else None
        if spectra:
            zero_init(self.leave)

    def forward(self, *images: Tensor) -> Tensor:
        """Tokens (B, side^2, features) of images (B, C, H, W), H and W multiples of 4."""
        pixels = F.pixel_unshuffle(torch.cat(images, dim=1), 4)
        h = F.gelu(self.enter(pixels.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            h = h + block(h)
        h = self.gather(h)
        cells = cell_means(h, self.side, self.side) if exporting() else F.adaptive_avg_pool2d(h, self.side)
        z = self.leave(self.mixer(cells.flatten(2).transpose(-1, -2)))
        if self.spectra is not None:
            z = z + self.spectra(*images)
        return F.gelu(z) if self.end == "gelu" else torch.tanh(F.layer_norm(z, (self.leave.out_features,)))


class LatentDenoiser(nn.Module):
    """z0_hat (B, N, F) from z_i, the condition c and the time i / T.

    z_i and c are (B, N, F); the time is a number that is repeated F times.
    """

    def __init__(self, tokens: int, features: int, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Linear(3 * features, width)
        self.blocks = nn.ModuleList(TokenMixer(tokens, width, expansion=2) for _ in range(blocks))
        self.leave = nn.Linear(width, features)

    def forward(self, z: Tensor, time: float, c: Tensor) -> Tensor:
        h = F.leaky_relu(self.enter(torch.cat([z, c, torch.full_like(z, time)], dim=-1)), 0.2)
        for block in self.blocks:
            h = F.gelu(block(h))
        result: Tensor = self.leave(h)
        return result


class LatentDiffusion(nn.Module):
    """The diffusion of this module's first lines, differentiable through all steps.

    steps: T, with b_i in equal steps from `beta_start` to `beta_end`.
    """

    def __init__(self, denoiser: nn.Module, steps: int = 8, beta_start: float = 0.1, beta_end: float = 0.99) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.denoiser = denoiser
        self.steps = steps
        betas = [beta_start + (beta_end - beta_start) * i / max(steps - 1, 1) for i in range(steps)]
        products = [1.0]
        for beta in betas:
            products.append(products[-1] * (1 - beta))
        self.weights = [
            (
                math.sqrt(products[i]) * beta / (1 - products[i + 1]),
                math.sqrt(1 - beta) * (1 - products[i]) / (1 - products[i + 1]),
            )
            for i, beta in enumerate(betas)
        ]
        """Of z0_hat and of z_i in z_{i-1}, for i = 1 ... T."""

    def forward(self, c: Tensor, noise: Tensor) -> Tensor:
        """z_0 (B, N, F) from the condition c and noise of N(0, I), both (B, N, F)."""
        z = noise
        for i in range(self.steps, 0, -1):
            of_clean, of_state = self.weights[i - 1]
            z = of_clean * self.denoiser(z, i / self.steps, c).clamp(-1, 1) + of_state * z
        return z


def log_spectrum(y: Tensor) -> Tensor:
    """Logarithm of the power in 16 x 11 bands of frequencies, (B, 16, 11).

    The mean is over each whole image y (B, C, H, W).

    In float32 whatever autocast computes in. Images smaller than a window are extended.
    """
    multiple = WINDOW if not exporting() and min(y.shape[-2:]) <= WINDOW // 2 else WINDOW // 2
    return torch.log(_pool(power_spectra(pad_to_multiple(at_least_float32(y), multiple), WINDOW).mean((1, 2))) + 1e-3)


def _pool(spectra: Tensor) -> Tensor:
    """Means of neighbouring frequencies, (..., 64, 33) -> (..., 16, 11).

    Frequency 0 lies in the middle of the rows.
    """
    return F.avg_pool2d(spectra.roll(spectra.shape[-2] // 2, -2)[None], (4, 3))[0]
