"""Results between the mean of a walk and its end: likely, and natural.

The first estimate of a walk is the mean of all that the image may be: too smooth. The walk's end is one of them: as rich as
images are, and twice as wrong. Two things between them cost less than they give. A share of what the walk adds costs its square.
And where the first estimate has some of the detail that the walk says is there, its own detail can be raised to the walk's
contrast: that costs a fourth of the power that it adds, or less, as it invents nothing. It is the optimal transport by which, for
normal distributions, the natural spectrum is had at the least error (Freirich et al., arXiv 2107.02555), in octaves and places.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from rebridge.degradations.optics import gaussian_kernel

EVEN_SIDE = 7
"""Side in pixels of the windows in which an estimate is called smooth or textured."""
OCTAVES = (0.7, 1.4, 2.8)
"""Standard deviations in pixels of the Gaussians between which detail is taken."""
POWER_REACH = 4.0
"""Standard deviation in pixels of the window in which its power is measured."""
LEAST_POWER = 1e-6
"""Power of detail, of values in [-1, 1], that is none."""


def texture_share(image: Tensor, smooth: float) -> Tensor:
    """Share of texture at each place, v / (v + smooth^2).

    (B, 1, H, W) of images (B, C, H, W); v is the variance of the mean over the channels in a window of `EVEN_SIDE` pixels a
    side: the share of Wiener's filter (derived).
    """
    grey = image.float().mean(1, keepdim=True)
    mean, square = (
        F.avg_pool2d(values, EVEN_SIDE, 1, EVEN_SIDE // 2, count_include_pad=False) for values in (grey, grey**2)
    )
    variance = (square - mean**2).clamp_min(0)
    return (variance / (variance + smooth**2)).to(image)


def raised(image: Tensor, like: Tensor, most: float) -> Tensor:
    """Raise the local contrast of an image to that of another, octave by octave.

    Args:
        image: (B, C, H, W) in [-1, 1].
        like: what has the contrast, the same shape.
        most: greatest factor, at least 1; contrast is never lowered.

    Returns:
        What is to be added to the image, (B, C, H, W).
    """
    change = torch.zeros_like(image, dtype=torch.float32)
    for own, other in zip(octaves(image.float()), octaves(like.float()), strict=True):
        power, wanted = (
            blurred(detail.square().mean(1, keepdim=True), POWER_REACH) + LEAST_POWER for detail in (own, other)
        )
        change += ((wanted / power).sqrt().clamp(1, most) - 1) * own
    return change.to(image)


def octaves(image: Tensor) -> Iterator[Tensor]:
    """Take the detail of an image (B, C, H, W), the finest first.

    It lies between blurs of growing width.
    """
    last = image
    for sigma in OCTAVES:
        soft = blurred(image, sigma)
        yield last - soft
        last = soft


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Blur (B, C, H, W) by a Gaussian, borders repeated.

    sigma: its standard deviation in pixels.
    """
    line = gaussian_kernel(sigma).sum(0).to(image)
    reach = len(line) // 2
    planes = F.pad(image, (reach, reach, reach, reach), mode="replicate").flatten(0, 1)[:, None]
    across = F.conv2d(planes, line.view(1, 1, 1, -1))
    return F.conv2d(across, line.view(1, 1, -1, 1)).view(image.shape)
