"""Restoration without a model: what a zero-shot method has to beat.

All take images and measurements in [0, 1] and know the operator and the size of the noise.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from rebridge.catalogue import check_name
from rebridge.inverse.operators import Operator
from rebridge.inverse.smooth import smooth_image

Baseline = Callable[[Operator, Tensor, float], Tensor | None]
"""Called as (operator, y, sigma_y); gives images (B, C, H, W), or None where it makes no sense."""


def enlarged(operator: Operator, y: Tensor, sigma_y: float) -> Tensor | None:
    """Enlarge a small picture by bicubic interpolation."""
    return operator.to_picture(y) if operator.scale > 1 else None


def pseudo_inverse(operator: Operator, y: Tensor, sigma_y: float) -> Tensor | None:
    """Apply A^+."""
    return operator.A_dagger(y) if operator.has_prox else None


def wiener(operator: Operator, y: Tensor, sigma_y: float) -> Tensor | None:
    """Restore with the prior of a spectrum 1/f^2, see `smooth_image`."""
    return smooth_image(operator, y, sigma_y) if operator.linear else None


def least_variation(operator: Operator, y: Tensor, sigma_y: float, iterations: int = 60) -> Tensor | None:
    """Minimise |A x - y|^2 / 2 + 0.8 s TV(x).

    Without noise TV(x) among the images that fit y. ADMM with the operator's own proximal step; the total variation is isotropic
    and its proximal step Chambolle's (2004).
    """
    if not operator.has_prox:
        return None
    exact = sigma_y == 0
    weight = 0.02 if exact else 0.8 * sigma_y
    penalty = 1.0 if exact else 0.3
    begun = wiener(operator, y, sigma_y)
    z = operator.A_dagger(y) if begun is None else begun
    u = torch.zeros_like(z)
    dual = z.new_zeros(2, *z.shape)
    x = z
    for _ in range(iterations):
        x = operator.prox_l2(z - u, y, torch.inf if exact else 1 / penalty)
        z, dual = _smoothed(x + u, weight / penalty, dual)
        u = u + x - z
    return x if exact else z


def inpainted(operator: Operator, y: Tensor, sigma_y: float) -> Tensor | None:
    """Fill the holes of a mask from around them, by OpenCV (Telea 2004)."""
    known = known_pixels(operator, y)
    if known is None or known.all():
        return None
    holes = (~known).numpy().astype(np.uint8)
    filled = [cv2.inpaint(_bytes(image), holes, 3, cv2.INPAINT_TELEA) for image in y]
    return torch.stack([_pixels(image, y) for image in filled])


def non_local_means(operator: Operator, y: Tensor, sigma_y: float) -> Tensor | None:
    """Average similar patches, by OpenCV (Buades 2005), for noise alone."""
    known = known_pixels(operator, y)
    if sigma_y == 0 or known is None or not known.all():
        return None
    strength = 255 * sigma_y
    colour = y.shape[1] == 3
    found = []
    for image in y:
        pixels = _bytes(image)
        if colour:
            found.append(cv2.fastNlMeansDenoisingColored(pixels, None, strength, strength, 7, 21))
        else:
            found.append(cv2.fastNlMeansDenoising(pixels, None, strength, 7, 21))
    return torch.stack([_pixels(image, y) for image in found])


BASELINES: dict[str, Baseline] = {
    "bicubic": enlarged,
    "A^+": pseudo_inverse,
    "Wiener": wiener,
    "TV": least_variation,
    "cv2.inpaint": inpainted,
    "NLM": non_local_means,
}
"""The baselines by name."""


def baseline(name: str) -> Baseline:
    """Give the baseline of that name; ValueError for an unknown one."""
    check_name("baseline", name, BASELINES)
    return BASELINES[name]


def known_pixels(operator: Operator, like: Tensor) -> Tensor | None:
    """Find the pixels (H, W) that an operator measures as they are.

    None if it does anything else.
    """
    if not operator.linear or operator.measurement_shape != operator.shape:
        return None
    generator = torch.Generator().manual_seed(0)
    x = 1 + torch.rand(1, *operator.shape, generator=generator).to(like)
    measured = operator.A(x)
    known = (measured - x).abs().amax((0, 1)) < 1e-4
    return known if (measured[:, :, ~known].abs() < 1e-4).all() else None


def _smoothed(x: Tensor, weight: float, dual: Tensor, iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Chambolle's proximal step of weight * TV from a dual (2, B, C, H, W), and the dual after it."""
    pad = torch.nn.functional.pad

    def divergence(p: Tensor) -> Tensor:
        right, down = p[0], p[1]
        return right - pad(right[..., :-1], (1, 0)) + down - pad(down[..., :-1, :], (0, 0, 1, 0))

    for _ in range(iterations):
        inside = divergence(dual) - x / weight
        slope = torch.stack([pad(inside.diff(dim=-1), (0, 1)), pad(inside.diff(dim=-2), (0, 0, 0, 1))])
        size = slope.square().sum(0, keepdim=True).sqrt()
        dual = (dual + 0.24 * slope) / (1 + 0.24 * size)
    return x - weight * divergence(dual), dual


def _bytes(image: Tensor) -> np.ndarray:
    """Pixels (H, W[, C]) of 8 bits of an image (C, H, W) in [0, 1]."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _pixels(image: np.ndarray, like: Tensor) -> Tensor:
    pixels = torch.from_numpy(np.atleast_3d(image)).permute(2, 0, 1)
    return pixels.to(like) / 255
