"""Distances between two batches of images, by name.

Each is a function of prediction and target (B, C, H, W) and returns a scalar with gradients.
`loss.kind` of a configuration names one; another is added by `rebridge.training.LOSSES.register("mine", mine)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rebridge.catalogue import Catalogue


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of |prediction - target|."""
    return (prediction - target).abs().mean()


def l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of (prediction - target)^2."""
    return (prediction - target).square().mean()


def charbonnier(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of sqrt((prediction - target)^2 + 1e-6)."""
    return torch.sqrt((prediction - target).square() + 1e-6).mean()


def log_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over images of ln(MSE + 1e-4).

    So an image counts by its share of improvement, however bad it is (NAFNet's loss, arXiv 2204.04676).
    """
    return torch.log((prediction - target).float().square().flatten(1).mean(1) + 1e-4).mean()


LOSSES: Catalogue[Tensor] = Catalogue("loss", {"l1": l1, "l2": l2, "charbonnier": charbonnier, "psnr": log_mse})
