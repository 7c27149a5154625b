"""Frechet distance between sets of images, by statistics of filter banks.

It answers whether restored images look like clean ones.

PSNR asks whether each pixel is right, and the mean of all plausible images answers it best, though it looks like none of
them. This asks whether the pictures have the texture of clean ones: FID's formula, with features that need no download,

    distance = |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)),      means m and covariances C of the features of all patches

The features of a patch of 64 x 64 pixels (patches overlap by half) come from the luma of the 8-bit image, seen through complex
Gabor filters of four wavelengths (2.5, 4, 8 and 16 px) in four directions: of each, the logarithm of the mean energy,
log(mean |r|^2 + 0.1), and its sparsity, log of mean |r|^2 over (mean |r|)^2, which is higher where few edges hold the energy:
32 numbers. A covariance that means something needs hundreds of patches. Derived; not comparable with FID.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from rebridge.evaluation.metrics import luma
from rebridge.images import quantise

WAVELENGTHS = (2.5, 4.0, 8.0, 16.0)
DIRECTIONS = 4
PATCH = 64
FEATURES = 2 * len(WAVELENGTHS) * DIRECTIONS

_FLOOR = 0.1
"""Added to energies, in squared grey levels of 255: a third of a grey level, below what rounding to 8 bits makes."""


@dataclass(frozen=True)
class Statistics:
    """Mean (D,) and covariance (D, D) of features, float64, of some patches."""

    mean: Tensor
    covariance: Tensor
    count: int


def features(images: Tensor) -> Tensor:
    """Compute features (N, 32), float64, of all patches of images.

    images: (B, 3 or 1, H, W) in [0, 1], at least 64 x 64 pixels.

    Raises ValueError for smaller images.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[-2:]) < PATCH:
        raise ValueError(
            f"images must be (B, 1 or 3, H, W) of at least {PATCH} pixels a side, got {tuple(images.shape)}"
        )
    grey = luma(quantise(images.float())) if images.shape[1] == 3 else quantise(images.float())
    grey = 255 * grey
    found = []
    for wavelength in WAVELENGTHS:
        bank = _bank(wavelength).to(grey.device)
        reach = bank.shape[-1] // 2
        padded = nn.functional.pad(grey, (reach, reach, reach, reach), mode="reflect")
        real, imaginary = nn.functional.conv2d(padded, bank).chunk(2, dim=1)
        energy = real.square() + imaginary.square()
        # Pooling in two steps of PATCH / 2 costs one pass; patches are 2 x 2 of its cells.
        mean_energy, mean_size = (_over_patches(value) for value in (energy, energy.sqrt()))
        found.append((mean_energy + _FLOOR).log())
        found.append(((mean_energy + _FLOOR) / (mean_size.square() + _FLOOR)).log())
    return torch.cat(found, dim=1).permute(0, 2, 3, 1).flatten(0, 2).double()


def statistics(rows: Iterable[Tensor]) -> Statistics:
    """Compute mean and covariance of features (N, 32), given in parts.

    Raises ValueError where all are 32 patches or less.
    """
    rows = torch.cat(list(rows))
    if len(rows) <= FEATURES:
        raise ValueError(f"{len(rows)} patches are too few for a covariance of {FEATURES} features; use more images")
    return Statistics(rows.mean(0), torch.cov(rows.T), len(rows))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """The distance between two Gaussians; 0 for equal ones, symmetric.

    Dowson and Landau 1982, eq. 4.
    """
    root = _square_root(a.covariance)
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    mean = (a.mean - b.mean).square().sum()
    return max(float(mean + a.covariance.trace() + b.covariance.trace() - 2 * cross), 0.0)


def _over_patches(values: Tensor) -> Tensor:
    cells = nn.functional.avg_pool2d(values, PATCH // 2)
    return nn.functional.avg_pool2d(cells, 2, stride=1)


def _square_root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


@lru_cache
def _bank(wavelength: float) -> Tensor:
    """Real, then imaginary parts of the filters of one wavelength in px, (2 * directions, 1, K, K).

    A Gaussian window of 0.5 wavelengths (standard deviation), mean 0, and unit response to a wave of its own direction and
    wavelength.
    """
    sigma = 0.5 * wavelength
    reach = math.ceil(3 * sigma)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    window = torch.exp(-(rows.square() + columns.square()) / (2 * sigma**2))
    parts = []
    for direction in range(DIRECTIONS):
        angle = math.pi * direction / DIRECTIONS
        phase = 2 * math.pi / wavelength * (columns * math.cos(angle) + rows * math.sin(angle))
        wave = torch.polar(torch.ones_like(phase), phase)
        # What the window makes of a constant is taken off, so that brightness has no response.
        kernel = window * (wave - (window * wave).sum() / window.sum())
        parts.append(kernel / (kernel * wave.conj()).sum().abs())
    bank = torch.stack(parts)
    return torch.cat([bank.real, bank.imag]).unsqueeze(1).float()
