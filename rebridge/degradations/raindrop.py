"""Raindrops on the window.

Each is a small lens that shows the scene upside down, wide-angle and out of focus.
"""

import cmath
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from rebridge.degradations.base import Degradation, Draw, Range, as_range
from rebridge.degradations.optics import convolve, gaussian_kernel

WAVES = (0.10, 0.07)
"""Relative heights of the waves with two and three crests on the outline of a drop."""


@dataclass(frozen=True)
class Drop:
    """One drop: centre (y, x) and radius in px, its outline, and how it bends light."""

    y: float
    x: float
    radius: float
    stretch: float
    """Height over width."""
    lobes: tuple[float, float]
    """Phases of the two waves of the outline, in radians."""
    power: float
    """Minification of the scene seen through the drop."""
    soft: float
    """Width of the blurred rim in px."""


@dataclass(frozen=True)
class Film:
    """All drops of an image.

    Attributes:
        source: where each pixel's light comes from, (H, W, 2).
        opacity: (H, W).
        shading: (H, W).
    """

    source: Tensor
    opacity: Tensor
    shading: Tensor


@dataclass(frozen=True)
class Raindrop(Degradation):
    """Drops with a flipped, minified view of the scene.

    y = (1 - m) x + m s x_blurred(source), with opacity m and shading s.
    """

    density: Range = (0.00015, 0.00045)
    """Drops per pixel, in [0, 0.01]."""
    radius: Range = (5.0, 22.0)
    """Radius in px, log-uniform for each drop, in [1, 200]."""
    power: Range = (1.5, 3.5)
    """Minification of the scene in a drop, in [0.1, 20]."""
    blur: Range = (1.5, 3.5)
    """Standard deviation in px of the blur of the refracted scene, in [0.1, 30]."""
    soft: Range = (1.5, 4.0)
    """Width in px of the rim: the camera focuses on the scene, so drops are soft; in [0.1, 50]."""
    opacity: Range = (0.85, 1.0)
    """Opacity in the middle of a drop, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(density=(0, 0.01), radius=(1, 200), power=(0.1, 20))
        self.limit(blur=(0.1, 30), soft=(0.1, 50), opacity=(0, 1))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        height, width = image.shape[-2:]
        film = self.film(height, width, self.drops(height, width, draw))
        blurred = convolve(image, gaussian_kernel(draw.uniform(self.blur)))
        scale = torch.tensor([2 / width, 2 / height])
        grid = (film.source + 0.5) * scale - 1
        seen = grid_sample(blurred[None], grid[None], mode="bilinear", padding_mode="reflection", align_corners=False)
        opacity = film.opacity * draw.uniform(self.opacity)
        return image + opacity * (seen[0] * film.shading - image)

    def drops(self, height: int, width: int, draw: Draw) -> list[Drop]:
        """Draw the drops that can touch an image; centres may lie outside it."""
        smallest, largest = as_range("radius", self.radius)
        power = as_range("power", self.power)
        margin = 1.5 * largest
        area = (height + 2 * margin) * (width + 2 * margin)
        soft = draw.uniform(self.soft)
        places = draw.rand(draw.poisson(draw.log_uniform(self.density) * area), 7)
        return [
            Drop(
                y=between(-margin, height + margin, y),
                x=between(-margin, width + margin, x),
                radius=smallest * (largest / smallest) ** size,
                stretch=between(0.95, 1.4, stretch),
                lobes=(2 * math.pi * first, 2 * math.pi * second),
                power=between(*power, bend),
                soft=soft,
            )
            for y, x, size, stretch, first, second, bend in places.tolist()
        ]

    def film(self, height: int, width: int, drops: list[Drop]) -> Film:
        """Lay the drops over an image, later ones over earlier ones."""
        rows, columns = torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32)
        source = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], -1)
        opacity, shading = torch.zeros(height, width), torch.ones(height, width)
        for drop in drops:
            reach = (1 + sum(WAVES)) * (drop.radius + drop.soft / 2)
            window = (window_of(drop.y, reach * drop.stretch, height), window_of(drop.x, reach, width))
            if window[0].start < window[0].stop and window[1].start < window[1].stop:
                lay(drop, rows[window[0]], columns[window[1]], source[window], opacity[window], shading[window])
        return Film(source, opacity, shading)


def between(low: float, high: float, share: float) -> float:
    """Interpolate: the number a share of the way from low to high."""
    return low + (high - low) * share


def window_of(centre: float, reach: float, length: int) -> slice:
    """Find the pixels of a line that lie within `reach` of the centre."""
    return slice(min(max(math.floor(centre - reach), 0), length), max(min(math.ceil(centre + reach) + 1, length), 0))


def lay(drop: Drop, rows: Tensor, columns: Tensor, source: Tensor, opacity: Tensor, shading: Tensor) -> None:
    """Write one drop into its window (h, w) of the film, in place.

    The outline is an ellipse with two gentle waves. With u the distance from the centre relative to the outline,
    light comes from the point opposite, power times as far out; towards the rim the drop darkens (light is reflected
    inside) and its lower half is brighter (there it shows the sky).
    """
    dy, dx = (rows - drop.y)[:, None], (columns - drop.x)[None]
    direction = torch.sgn(torch.complex(dx.expand(*rows.shape, -1), dy.expand(-1, *columns.shape)))
    second, third = (cmath.rect(wave, phase) for wave, phase in zip(WAVES, drop.lobes, strict=True))
    outline = 1 + (direction * direction * (second + third * direction)).real
    u = torch.hypot(dy / drop.stretch, dx) / (drop.radius * outline)
    cover = ((1 - u) * drop.radius / drop.soft + 0.5).clamp(0, 1)
    cover = cover * cover * (3 - 2 * cover)
    inside = cover > 0
    rim = u.clamp(max=1).square()
    bend = drop.power * (1 + 0.5 * rim)
    towards = torch.stack([drop.x - bend * dx, drop.y - bend * dy], -1)
    source.copy_(torch.where(inside[..., None], towards, source))
    light = 1.0 + 0.2 * (dy / (drop.radius * drop.stretch)).clamp(-1, 1) - 0.35 * rim.square()
    shading.copy_(torch.where(inside, light, shading))
    torch.maximum(opacity, cover, out=opacity)
