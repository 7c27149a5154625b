"""Snow of other make than `weather.Snow`.

Drawn flakes, and clumped noise under a whitening veil.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range
from rebridge.degradations.streaks import SUBPIXEL, lay_over, line_kernel, smear


@dataclass(frozen=True)
class DrawnSnow(Degradation):
    """Discs of several sizes, each size blurred by how far out of focus it is."""

    cover: Range = (0.003, 0.08)
    """Share of the picture that the flakes of one size cover, log-uniform, in [0, 1]."""
    radius: Range = (0.8, 9.0)
    """Radius of the flakes of one size in px, log-uniform, in [0.3, 100]."""
    soft: Range = (0.3, 0.7)
    """Standard deviation of the blur in radii, in [0, 5]."""
    travel: Range = (0.0, 8.0)
    """Motion during the exposure in px, in [0, 200]."""
    opacity: Range = (0.3, 1.0)
    """Opacity of the flakes, in [0, 1]."""
    veil: Range = (0.0, 0.2)
    """Share of scattered light, in [0, 1]."""
    light: Range = (0.8, 1.0)
    """Brightness of the flakes, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(cover=(0, 1), radius=(0.3, 100), soft=(0, 5), travel=(0, 200))
        self.limit(opacity=(0, 1), veil=(0, 1), light=(0, 1))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        angle = math.pi * draw.uniform((-0.5, 0.5))
        seen = torch.ones(image.shape[-2:])
        for _ in range(draw.integer(1, 4)):
            seen = seen * (1 - self.layer(image.shape[-2], image.shape[-1], angle, draw))
        veil = draw.uniform(self.veil) * (draw.uniform((0, 1)) < 0.5)
        return lay_over(image, (1 - seen) * draw.uniform(self.opacity), draw.uniform(self.light), veil, "cover")

    def layer(self, height: int, width: int, angle: float, draw: Draw) -> Tensor:
        """Draw the flakes of one size as opacities (height, width) in [0, 1]."""
        radius = draw.log_uniform(self.radius)
        share = draw.log_uniform(self.cover)
        margin = math.ceil(2 * radius)
        area = (height + 2 * margin) * (width + 2 * margin)
        count = min(draw.poisson(share * area / (math.pi * radius**2)), 20000)
        numbers = draw.rand(count, 4)
        canvas = np.zeros((height, width), np.uint8)
        scale = 2**SUBPIXEL
        for x, y, size, tone in numbers.tolist():
            centre = (
                int((x * (width + 2 * margin) - margin) * scale),
                int((y * (height + 2 * margin) - margin) * scale),
            )
            cv2.circle(
                canvas,
                centre,
                int((0.6 + 0.8 * size) * radius * scale),
                int(110 + 145 * tone),
                -1,
                cv2.LINE_AA,
                SUBPIXEL,
            )
        field = cv2.GaussianBlur(
            canvas.astype(np.float32) / 255,
            (0, 0),
            max(draw.uniform(self.soft) * radius, 0.3),
            borderType=cv2.BORDER_REFLECT,
        )
        travel = draw.uniform(self.travel)
        layer = torch.from_numpy(field)
        return (
            layer if travel < 1 else smear(layer, line_kernel(travel, 0.3, angle)) * (1 + travel / (4 * radius)) ** 0.5
        )


@dataclass(frozen=True)
class ClumpedSnow(Degradation):
    """Smooth noise cut at a level and smeared.

    Over a picture that is whitened and loses contrast.
    """

    size: Range = (1.0, 4.0)
    """Size of the clumps in px, log-uniform, in [0.5, 100]."""
    level: Range = (1.2, 2.4)
    """Level that noise of unit deviation is cut at, in [0, 5]: a higher one leaves fewer flakes."""
    travel: Range = (2.0, 14.0)
    """Motion during the exposure in px, in [0, 200]."""
    opacity: Range = (0.4, 1.0)
    """Opacity of the flakes, in [0, 1]."""
    veil: Range = (0.0, 0.35)
    """Share of scattered light, in [0, 1]."""
    light: Range = (0.85, 1.0)
    """Brightness of the flakes, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(size=(0.5, 100), level=(0, 5), travel=(0, 200), opacity=(0, 1), veil=(0, 1), light=(0, 1))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        height, width = image.shape[-2:]
        size = draw.log_uniform(self.size)
        coarse = draw.randn(math.ceil(height / size) + 2, math.ceil(width / size) + 2).numpy()
        whole = (math.ceil(coarse.shape[1] * size), math.ceil(coarse.shape[0] * size))
        noise = torch.from_numpy(cv2.resize(coarse, whole, interpolation=cv2.INTER_CUBIC))[:height, :width]
        flakes = ((noise - draw.uniform(self.level)) * 2).clamp(0, 1).contiguous()
        kernel = line_kernel(draw.uniform(self.travel), 0.4, math.pi * draw.uniform((-0.5, 0.5)))
        cover = (1.5 * smear(flakes, kernel)).clamp(0, 1) * draw.uniform(self.opacity)
        light, veil = draw.uniform(self.light), draw.uniform(self.veil)
        return lay_over(image, cover, light, veil, "add" if draw.uniform((0, 1)) < 0.3 else "cover")
