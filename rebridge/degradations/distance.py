"""Haze over scenes with objects.

Depth that jumps at edges, dense and thin air of any colour.
"""

import math
from dataclasses import dataclass

import cv2
import torch
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range, check_number
from rebridge.degradations.fields import smooth_field
from rebridge.degradations.weather import Air, scatter


@dataclass(frozen=True)
class DepthHaze(Degradation):
    """Scattering, y = t x + (1 - t) A with t = exp(-beta depth), over planes.

    Objects and what the picture shows.
    """

    beta: Range = (0.08, 2.0)
    """Scattering coefficient per mean depth, log-uniform, in [0, 10]."""
    airlight: Range = (0.55, 1.0)
    """Brightness of the air, in [0, 1]."""
    tint: Range = (0.0, 0.06)
    """Standard deviation of the colour of the air per channel, in [0, 0.5]."""
    even: float = 0.15
    """Probability of the same depth everywhere, in [0, 1]."""
    objects: Range = (0.0, 9.0)
    """Number of objects in front of the background, in [0, 100]."""

    def __post_init__(self) -> None:
        self.limit(beta=(0, 10), airlight=(0, 1), tint=(0, 0.5), objects=(0, 100))
        check_number("even", self.even, 0, 1)

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        airlight = draw.uniform(self.airlight) + draw.uniform(self.tint) * draw.randn(image.shape[0], 1, 1)
        beta = draw.log_uniform(self.beta)
        depth = torch.ones(image.shape[-2:]) if draw.uniform((0, 1)) < self.even else self.depth(image, draw)
        return scatter(image, Air(depth / depth.mean(), beta, airlight.clamp(0, 1)))

    def depth(self, image: Tensor, draw: Draw) -> Tensor:
        """Draw depths (H, W), above 0.

        A background plane or ground, objects, and edges that the picture has.
        """
        height, width = image.shape[-2:]
        rows = torch.linspace(0, 1, height)[:, None]
        columns = torch.linspace(0, 1, width)[None]
        if draw.uniform((0, 1)) < 0.5:
            horizon = draw.uniform((-0.5, 0.6))
            depth = 1 / (rows - horizon).clamp(min=draw.uniform((0.08, 0.4))) + 0 * columns
        else:
            heading = draw.uniform((-math.pi, math.pi))
            ramp = rows * math.cos(heading) + columns * math.sin(heading)
            depth = 1 + draw.uniform((0, 2.5)) * (ramp - ramp.min())
        depth = depth / depth.mean()
        for _ in range(round(draw.uniform(self.objects))):
            depth = self.object(depth, draw)
        share = draw.uniform((0, 1)) * (draw.uniform((0, 1)) < 0.6)
        depth = depth * (1 + share * (self.seen(image, draw) - 0.5))
        relief = draw.uniform((0, 0.2)) * smooth_field(height, width, draw.uniform((40, 200)), draw)
        soft = draw.uniform((0.3, 2.5))
        blurred = cv2.GaussianBlur((depth * (1 + relief)).numpy(), (0, 0), soft, borderType=cv2.BORDER_REFLECT)
        return torch.from_numpy(blurred).clamp(min=0.03)

    def object(self, depth: Tensor, draw: Draw) -> Tensor:
        """Put an object before the depths (H, W), an ellipse or a tilted box.

        It has one depth, nearer than the background there.
        """
        height, width = depth.shape
        y = torch.arange(height)[:, None] / height - draw.uniform((0, 1))
        x = torch.arange(width)[None] / width - draw.uniform((0, 1))
        turn = draw.uniform((-0.6, 0.6))
        u = (x * math.cos(turn) + y * math.sin(turn)) / draw.uniform((0.04, 0.35))
        v = (y * math.cos(turn) - x * math.sin(turn)) / draw.uniform((0.05, 0.5))
        inside = torch.maximum(u.abs(), v.abs()) < 1 if draw.uniform((0, 1)) < 0.5 else u.square() + v.square() < 1
        near = float(depth.min()) + draw.uniform((0, 0.8)) * float(depth.mean() - depth.min())
        return torch.where(inside & (depth > near), near, depth)

    def seen(self, image: Tensor, draw: Draw) -> Tensor:
        """Mix the colours of the picture into a map (H, W) in [0, 1].

        It shares the picture's large edges.
        """
        mixed = (image * draw.rand(image.shape[0], 1, 1)).sum(0)
        smooth = cv2.medianBlur((mixed / mixed.max().clamp(min=1e-3) * 255).byte().numpy(), 5)
        smooth = cv2.GaussianBlur(smooth, (0, 0), draw.uniform((1, 6)), borderType=cv2.BORDER_REFLECT)
        seen = torch.from_numpy(smooth).float() / 255
        return 1 - seen if draw.uniform((0, 1)) < 0.5 else seen
