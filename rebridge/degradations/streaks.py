"""Rain of other make than `weather.Rain`.

Drawn lines, noise smeared along the fall, and single drops that taper.

Unlike renderers of one kind teach a network what rain is, and not what one renderer does. They compose as photographs and
those who paint rain into them do: light adds to the picture, covers a share of it, or is screened over it.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range, check_number
from rebridge.degradations.fields import splatted

SUBPIXEL = 4
"""Binary digits of the fractional positions that lines are drawn at."""


def line_kernel(length: float, width: float, angle: float) -> Tensor:
    """Make the kernel of a straight streak, (K, K) with K odd, sum 1.

    Args:
        length: extent along the streak in px, at least 0.
        width: standard deviation across in px, above 0.
        angle: direction in radians from the vertical.
    """
    reach = math.ceil(length / 2 + 3 * width)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32)
    y, x = axis[:, None], axis[None]
    along = (y * math.cos(angle) + x * math.sin(angle)).abs()
    across = x * math.cos(angle) - y * math.sin(angle)
    kernel = (length / 2 + 0.5 - along).clamp(0, 1) * torch.exp(-across.square() / (2 * width**2))
    return kernel / kernel.sum()


def smear(field: Tensor, kernel: Tensor) -> Tensor:
    """Convolve (H, W) with an odd kernel (K, K), borders reflected."""
    smeared = cv2.filter2D(field.numpy(), cv2.CV_32F, kernel.flip(0, 1).numpy(), borderType=cv2.BORDER_REFLECT)
    return torch.from_numpy(smeared)


WAYS = ("add", "cover", "screen", "lighten")
"""How light is laid over a picture: to it, over a share of it, as two projectors add up, or where it is brighter."""


def lay_over(image: Tensor, cover: Tensor, light: float, veil: float, way: str) -> Tensor:
    """Lay light of opacity `cover` (H, W) over a picture (C, H, W) in [0, 1].

    way: one of `WAYS`. Returns (C, H, W), not clamped.
    """
    added: Tensor | float
    match way:
        case "add":
            added = light
        case "cover":
            added = light - image
        case "screen":
            added = light * (1 - image)
        case _:
            added = (light - image).clamp(min=0)
    lit = image + cover * added
    return lit + veil * (light - lit)


@dataclass(frozen=True)
class DrawnRain(Degradation):
    """Rain drawn as soft lines of many widths and lengths, in one to three layers."""

    density: Range = (0.004, 0.12)
    """Share of the picture that lines pass over in a layer, log-uniform, in [0, 2]."""
    length: Range = (8.0, 90.0)
    """Length of the lines of a layer in px, log-uniform, in [1, 500]."""
    thickness: Range = (1.0, 3.4)
    """Thickness in px, rounded down, in [1, 20]."""
    angle: Range = (-40.0, 40.0)
    """Direction of fall in degrees from the vertical, in [-90, 90]."""
    spread: Range = (0.0, 6.0)
    """Standard deviation of the direction of single lines in degrees, in [0, 90]."""
    soft: Range = (0.3, 1.6)
    """Standard deviation of the blur of a layer in px, in [0, 20]."""
    opacity: Range = (0.1, 0.9)
    """Opacity of the brightest lines, in [0, 1]."""
    veil: Range = (0.0, 0.15)
    """Share of scattered light, in [0, 1]."""
    light: Range = (0.65, 1.0)
    """Brightness of drops and scattered light, in [0, 1]."""
    additive: float = 0.5
    """Probability that the light of the drops is added instead of covering, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(density=(0, 2), length=(1, 500), thickness=(1, 20), angle=(-90, 90), spread=(0, 90))
        self.limit(soft=(0, 20), opacity=(0, 1), veil=(0, 1), light=(0, 1))
        check_number("additive", self.additive, 0, 1)

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        angle = draw.uniform(self.angle)
        cover = torch.zeros(image.shape[-2:])
        for _ in range(draw.integer(1, 3)):
            cover = torch.maximum(cover, self.layer(image.shape[-2], image.shape[-1], angle, draw))
        way = "add" if draw.uniform((0, 1)) < self.additive else "cover"
        veil = draw.uniform(self.veil) * (draw.uniform((0, 1)) < 0.5)
        return lay_over(image, cover * draw.uniform(self.opacity), draw.uniform(self.light), veil, way)

    def layer(self, height: int, width: int, angle: float, draw: Draw) -> Tensor:
        """Draw one layer of lines as opacities (height, width) in [0, 1]."""
        length = draw.log_uniform(self.length)
        thickness = int(draw.uniform(self.thickness))
        margin = math.ceil(length)
        area = (height + 2 * margin) * (width + 2 * margin)
        count = min(draw.poisson(draw.log_uniform(self.density) * area / (length * thickness)), 20000)
        numbers = draw.rand(count, 4)
        turns = math.radians(angle) + math.radians(draw.uniform(self.spread)) * draw.randn(count)
        spans = length * (0.6 + 0.6 * numbers[:, 2])
        middle = torch.stack([numbers[:, 0] * (width + 2 * margin), numbers[:, 1] * (height + 2 * margin)], 1) - margin
        half = torch.stack([turns.sin(), turns.cos()], 1) * (spans / 2)[:, None]
        ends = torch.cat([middle - half, middle + half], 1) * 2**SUBPIXEL
        canvas = np.zeros((height, width), np.uint8)
        for (x0, y0, x1, y1), tone in zip(ends.int().tolist(), (90 + 165 * numbers[:, 3]).int().tolist(), strict=True):
            cv2.line(canvas, (x0, y0), (x1, y1), tone, thickness, cv2.LINE_AA, SUBPIXEL)
        soft = draw.uniform(self.soft)
        field = canvas.astype(np.float32) / 255
        if soft > 0.05:
            return torch.from_numpy(cv2.GaussianBlur(field, (0, 0), soft, borderType=cv2.BORDER_REFLECT))
        return torch.from_numpy(field)


@dataclass(frozen=True)
class SmearedRain(Degradation):
    """Rain made of sparse noise, smeared along the direction of fall."""

    density: Range = (0.002, 0.05)
    """Share of pixels that hold a drop, log-uniform, in [0, 1]."""
    zoom: Range = (1.0, 2.2)
    """Size of a drop in px, in [1, 20]."""
    length: Range = (8.0, 60.0)
    """Length of the smear in px, in [0, 300]."""
    width: Range = (0.35, 1.3)
    """Standard deviation of the smear across in px, in [0.1, 20]."""
    angle: Range = (-45.0, 45.0)
    """Direction of fall in degrees from the vertical, in [-90, 90]."""
    opacity: Range = (0.15, 0.95)
    """Opacity of the brightest streaks, in [0, 1]."""
    veil: Range = (0.0, 0.12)
    """Share of scattered light, in [0, 1]."""
    light: Range = (0.7, 1.0)
    """Brightness of drops and scattered light, in [0, 1]."""
    additive: float = 0.6
    """Probability that the light of the drops is added instead of covering, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(density=(0, 1), zoom=(1, 20), length=(0, 300), width=(0.1, 20), angle=(-90, 90))
        self.limit(opacity=(0, 1), veil=(0, 1), light=(0, 1))
        check_number("additive", self.additive, 0, 1)

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        height, width = image.shape[-2:]
        zoom = draw.uniform(self.zoom)
        drops = draw.rand(math.ceil(height / zoom) + 1, math.ceil(width / zoom) + 1)
        density = draw.log_uniform(self.density)
        drops = (drops < density) * (0.4 + 0.6 * draw.rand(*drops.shape))
        size = (math.ceil(drops.shape[1] * zoom), math.ceil(drops.shape[0] * zoom))
        field = torch.from_numpy(cv2.resize(drops.numpy(), size, interpolation=cv2.INTER_LINEAR))[:height, :width]
        kernel = line_kernel(
            draw.uniform(self.length), draw.uniform(self.width), math.radians(draw.uniform(self.angle))
        )
        field = smear(field.contiguous(), kernel) / (float(kernel.max()) * 1.5)
        cover = 1 - torch.exp(-1.5 * field)
        way = "add" if draw.uniform((0, 1)) < self.additive else "cover"
        veil = draw.uniform(self.veil) * (draw.uniform((0, 1)) < 0.5)
        return lay_over(image, cover * draw.uniform(self.opacity), draw.uniform(self.light), veil, way)


@dataclass(frozen=True)
class TaperedRain(Degradation):
    """Rain of single drops that fade towards their ends.

    Each has its own length and brightness.
    """

    density: Range = (0.0004, 0.006)
    """Streaks per pixel of a layer, log-uniform, in [0, 0.1]."""
    length: Range = (6.0, 50.0)
    """Mean length of the streaks of a layer in px, log-uniform, in [1, 500]; single ones follow a gamma law of order 3."""
    width: Range = (0.35, 1.4)
    """Standard deviation of a layer's streaks across in px, in [0.1, 20]."""
    taper: Range = (0.0, 2.0)
    """Power of the sine that they fade along, in [0, 10]; 0 is an even line."""
    angle: Range = (-40.0, 40.0)
    """Direction of fall in degrees from the vertical, in [-90, 90]."""
    spread: Range = (0.0, 5.0)
    """Standard deviation of the direction of single streaks in degrees, in [0, 90]."""
    opacity: Range = (0.15, 0.95)
    """Opacity of the brightest streaks, in [0, 1]."""
    veil: Range = (0.0, 0.15)
    """Share of scattered light, in [0, 1]."""
    light: Range = (0.65, 1.0)
    """Brightness of drops and scattered light, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(density=(0, 0.1), length=(1, 500), width=(0.1, 20), taper=(0, 10), angle=(-90, 90))
        self.limit(spread=(0, 90), opacity=(0, 1), veil=(0, 1), light=(0, 1))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        angle = math.radians(draw.uniform(self.angle))
        cover = torch.zeros(image.shape[-2:])
        for _ in range(draw.integer(1, 3)):
            cover = cover + self.layer(image.shape[-2], image.shape[-1], angle, draw)
        cover, light = draw.uniform(self.opacity) * (1 - torch.exp(-cover)), draw.uniform(self.light)
        veil = draw.uniform(self.veil) * (draw.uniform((0, 1)) < 0.5)
        return lay_over(image, cover, light, veil, WAYS[draw.integer(0, 3)])

    def layer(self, height: int, width: int, angle: float, draw: Draw) -> Tensor:
        """Draw the light of one layer of streaks, (height, width).

        At least 0; a bright one has about 1.5.
        """
        mean, sigma = draw.log_uniform(self.length), draw.uniform(self.width)
        margin = math.ceil(mean)
        size = torch.tensor([height + 2 * margin, width + 2 * margin])
        count = min(draw.poisson(draw.log_uniform(self.density) * float(size.prod())), 5000)
        spans = mean * -draw.rand(count, 3).clamp_min(1e-6).log().mean(1)
        turns = angle + math.radians(draw.uniform(self.spread)) * draw.randn(count)
        points = math.ceil(3 * mean)
        along = (torch.arange(points) + 0.5) / points
        fade = torch.sin(math.pi * along) ** draw.uniform(self.taper)
        fall = torch.stack([turns.cos(), turns.sin()], 1) * spans[:, None]
        path = (draw.rand(count, 1, 2) * size - margin) + (along - 0.5)[None, :, None] * fall[:, None]
        light = (0.3 + draw.rand(count))[:, None] * fade * (spans / points)[:, None]
        field = splatted(path.flatten(0, 1), light.flatten(), height, width)
        soft = cv2.GaussianBlur(field.numpy(), (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        return torch.from_numpy(soft) * (1.2 * math.sqrt(2 * math.pi) * max(sigma, 0.4))
