"""A verdict on a whole picture: which kinds of degradation are in it.

A few layers judge all that was gathered about the picture: pooled features, quantiles of the brightness, and how much energy
bright and dark lines have in sixteen directions. Rain is bright lines of one direction, everywhere; in texture dark lines are
as strong. What is gathered does not change while the layers learn, so that they can see tens of thousands of pictures in
minutes. Derived; measured by tools/train_verdict.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.exporting import exporting, lower_median, quantiles, repeated_to

TURNS = 16
KERNEL = 17
"""Side in pixels of the line filters."""
CELL = 32
"""Side in pixels of the blocks that energies are taken over, at the finest scale."""
SHARES_OF_BLOCKS = (0.25, 0.75)
LINE_NUMBERS = TURNS * 2 * (2 * (1 + len(SHARES_OF_BLOCKS)) + 1)
"""Numbers that `line_statistics` gives for a picture."""
STRIP = 2**20
"""Most pixels that are filtered at once."""
LEAST_SIDE = 96
"""Smaller pictures are continued by repetition of their border."""


def line_filters(across: float = 1.0, along: float = 4.0) -> Tensor:
    """Make filters for bright lines, (TURNS, 1, KERNEL, KERNEL).

    They are the second derivative of a Gaussian of `across` px, smeared by one of `along` px; without mean, of absolute sum 1;
    direction k at k / TURNS of half a turn from the vertical.
    """
    axis = torch.arange(KERNEL, dtype=torch.float32) - KERNEL // 2
    y, x = axis[:, None], axis[None]
    filters = []
    for index in range(TURNS):
        angle = math.pi * index / TURNS
        u, v = x * math.cos(angle) - y * math.sin(angle), y * math.cos(angle) + x * math.sin(angle)
        profile = (1 - (u / across) ** 2) * torch.exp(-(u**2) / (2 * across**2) - v**2 / (2 * along**2))
        profile = profile - profile.mean()
        filters.append(profile / profile.abs().sum())
    return torch.stack(filters)[:, None]


def line_statistics(y: Tensor) -> Tensor:
    """Sum up the lines of pictures (B, 3, H, W) in [-1, 1] by direction.

    At the full and at half of the size, over blocks: mean and quantiles of the energy of bright and of dark lines, and the
    median of the brightest line. All in a logarithmic scale, (B, LINE_NUMBERS), float32.
    """
    grey = (y.float().mean(1, keepdim=True) + 1) / 2
    missing = [0, 0] if exporting() else [max(LEAST_SIDE - side, 0) for side in grey.shape[-2:]]
    if exporting():
        grey = repeated_to(grey, LEAST_SIDE)
    elif any(missing):
        grey = F.pad(grey, (0, missing[1], 0, missing[0]), mode="replicate")
    filters = line_filters().to(grey.device)
    found = []
    for scale in range(2):
        bright, dark, brightest = block_energies(grey, filters, CELL >> scale)
        shares = torch.tensor(SHARES_OF_BLOCKS, device=grey.device)
        for energies in (bright, dark):
            parts = quantiles(energies, shares) if exporting() else energies.quantile(shares, dim=2)
            values = [energies.mean(2), *parts.unbind()]
            found += [torch.log(value + 1e-7) / 2 for value in values]
        brightest = brightest.clamp_min(0)
        middle = lower_median(brightest) if exporting() else brightest.median(dim=2).values
        found.append(torch.log(middle + 1e-3))
        grey = F.avg_pool2d(grey, 2)
    return torch.cat(found, 1)


def block_energies(grey: Tensor, filters: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Filter pictures (B, 1, H, W) and sum up blocks of `side` pixels.

    In strips of rows, so that large pictures fit.

    Returns:
        Mean energy of bright and of dark lines, and the brightest line, each (B, TURNS, blocks).
    """
    height, width = grey.shape[-2] - KERNEL + 1, grey.shape[-1]
    rows = height if exporting() else max(STRIP // width // side, 1) * side
    parts: list[tuple[Tensor, ...]] = []
    for top in (0,) if exporting() else range(0, height, rows):
        answer = F.conv2d(grey[..., top : min(top + rows, height) + KERNEL - 1, :], filters)
        bright = F.avg_pool2d(answer.relu().square(), side, ceil_mode=True)
        dark = F.avg_pool2d((-answer).relu().square(), side, ceil_mode=True)
        parts.append((bright.flatten(2), dark.flatten(2), F.max_pool2d(answer, side, ceil_mode=True).flatten(2)))
    first, second, third = (torch.cat(kept, 2) for kept in zip(*parts, strict=True))
    return first, second, third


class Verdict(nn.Module):
    """Logits (B, kinds) of what was gathered (B, known) about whole pictures.

    known: numbers per picture. kinds: of degradation. mean, scale: of each number, as the training pictures have them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, known: int, kinds: int, width: int = 160, inner: int = 64) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(known))
        self.register_buffer("scale", torch.ones(known))
        self.layers = nn.Sequential(
            nn.Linear(known, width),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(width, inner),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(inner, kinds),
        )

    def forward(self, known: Tensor) -> Tensor:
        """Judge; numbers that no training picture came near to are cut off."""
        logits: Tensor = self.layers(((known.float() - self.mean) / self.scale).clamp(-6, 6))
        return logits.float()
