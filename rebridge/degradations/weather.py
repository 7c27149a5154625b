"""Rain, snow and haze: what stands in the air between the scene and the camera.

All sizes are in pixels and all densities per pixel, so that a small training patch looks like a crop from a degraded
photograph.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range
from rebridge.degradations.fields import Canvas, canvas, flake_spectra, paint, particles, smooth_field, streak_spectra

NOMINAL_HEIGHT = 400.0
"""Height in px of the photograph of which a smaller image is taken to be a crop."""

RAIN_SCALES = ((5.0, 0.55, 1.0), (12.0, 0.7, 0.40), (26.0, 1.0, 0.10))
"""Length and width (standard deviation) in px, and share of the density, of far, middle and near streaks."""

SNOW_SCALES = ((0.9, 1.0, 1.0), (1.6, 0.95, 0.35), (2.8, 0.9, 0.10), (5.0, 0.7, 0.022), (8.5, 0.5, 0.005))
"""Radius in px, opacity, and share of the density, of flakes from far to near: near ones are large and out of focus."""


@dataclass(frozen=True)
class Rain(Degradation):
    """Streaks of several lengths and directions over a thin veil of scattered light.

    y = t ((1 - m) x + m c) + (1 - t) c with streak opacity m, constant transmission t = 1 - veil, and the light of
    the drops c; a streak before something brighter than c does not show. Streaks overlap as 1 - exp(-sum).
    """

    density: Range = (0.0013, 0.005)
    """Far streaks per pixel, in [0, 0.1]; nearer layers are rarer in fixed proportion."""
    angle: Range = (-35.0, 35.0)
    """Direction of fall in degrees from the vertical, in [-90, 90]; layers scatter a few degrees around it."""
    length: Range = (0.8, 1.8)
    """Factor on the streak lengths of 5, 12 and 26 px, in [0.1, 10]."""
    opacity: Range = (0.45, 0.8)
    """Opacity of the brightest streaks, in [0, 1]."""
    veil: Range = (0.02, 0.15)
    """Share of scattered light, in [0, 1]."""
    light: Range = (0.75, 0.95)
    """Brightness of drops and scattered light, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(density=(0, 0.1), angle=(-90, 90), length=(0.1, 10), opacity=(0, 1), veil=(0, 1), light=(0, 1))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        streaks = self.streaks(canvas(*image.shape[-2:]), draw)
        light = draw.uniform(self.light)
        veil = draw.uniform(self.veil)
        rainy = image + streaks * (light - image).clamp(min=0)
        return rainy + veil * (light - rainy)

    def streaks(self, grid: Canvas, draw: Draw) -> Tensor:
        """Draw the opacity of the streaks in [0, 1], (H, W).

        Each of the three scales has two lengths and directions.
        """
        scales = torch.tensor([scale for scale in RAIN_SCALES for _ in range(2)])
        count = len(scales)
        density = draw.log_uniform(self.density)
        factor = draw.uniform(self.length)
        angle = math.radians(draw.uniform(self.angle))
        lengths = scales[:, 0] * factor * (0.7 + 0.6 * draw.rand(count))
        widths = scales[:, 1] * (0.85 + 0.3 * draw.rand(count))
        angles = angle + math.radians(3) * draw.randn(count)
        impulses = particles(grid, (scales[:, 2] * density / 2).tolist(), draw)
        field = paint(impulses, streak_spectra(grid, angles, lengths, widths), grid)
        return 1 - torch.exp(math.log1p(-min(draw.uniform(self.opacity), 0.999)) * field)


@dataclass(frozen=True)
class Snow(Degradation):
    """Flakes of several sizes over a thin veil.

    They are partly transparent and drawn out by their motion. y = (1 - m) x' + m c, with flake opacity m, flake brightness c, and
    x' = (1 - veil) x + veil c.
    """

    density: Range = (0.005, 0.016)
    """Far flakes per pixel, in [0, 0.1]; nearer ones are rarer in fixed proportion."""
    size: Range = (0.8, 1.35)
    """Factor on the flake radii of 0.9 to 8.5 px, in [0.1, 10]."""
    travel: Range = (0.0, 6.0)
    """Motion during the exposure in px for a flake of radius 4, in [0, 100]; nearer flakes move further."""
    angle: Range = (-50.0, 50.0)
    """Direction of fall in degrees from the vertical, in [-90, 90]."""
    opacity: Range = (0.6, 0.95)
    """Opacity of the densest flakes, in [0, 1]."""
    veil: Range = (0.0, 0.1)
    """Share of scattered light, in [0, 1]."""
    light: Range = (0.85, 1.0)
    """Brightness of the flakes, in [0, 1]."""

    def __post_init__(self) -> None:
        self.limit(density=(0, 0.1), size=(0.1, 10), travel=(0, 100), angle=(-90, 90))
        self.limit(opacity=(0, 1), veil=(0, 1), light=(0, 1))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        flakes = self.flakes(canvas(*image.shape[-2:]), draw)
        light = draw.uniform(self.light)
        veiled = image + draw.uniform(self.veil) * (light - image)
        return veiled + flakes * (light - veiled)

    def flakes(self, grid: Canvas, draw: Draw) -> Tensor:
        """Draw the opacity of the flakes in [0, 1], (H, W)."""
        scales = torch.tensor(SNOW_SCALES)
        count = len(scales)
        density = draw.log_uniform(self.density)
        radii = scales[:, 0] * draw.uniform(self.size) * (0.8 + 0.4 * draw.rand(count))
        stretch = 1 + 0.5 * draw.rand(count)
        travel = draw.uniform(self.travel) * radii / 4
        angles = math.radians(draw.uniform(self.angle)) + math.radians(8) * draw.randn(count)
        impulses = particles(grid, (scales[:, 2] * density).tolist(), draw) * scales[:, 1, None, None]
        field = paint(impulses, flake_spectra(grid, angles, radii, stretch, travel), grid)
        return 1 - torch.exp(math.log1p(-min(draw.uniform(self.opacity), 0.999)) * field)


@dataclass(frozen=True)
class Air:
    """The air of a hazy picture.

    Attributes:
        depth: (H, W), in units of the mean depth.
        beta: scattering coefficient per mean depth.
        airlight: (C, 1, 1) in [0, 1].
    """

    depth: Tensor
    beta: float
    airlight: Tensor

    @property
    def transmission(self) -> Tensor:
        """The transmission t = exp(-beta depth), (H, W) in (0, 1]."""
        return torch.exp(-self.beta * self.depth)


@dataclass(frozen=True)
class Haze(Degradation):
    """Atmospheric scattering over a smooth synthetic depth.

    y = t x + (1 - t) A with t = exp(-beta depth), the model of Koschmieder, 1924. Depth grows towards the top of the picture and
    varies smoothly over `spacing` px.
    """

    beta: Range = (0.2, 0.7)
    """Scattering coefficient per mean depth, in [0, 10]."""
    airlight: Range = (0.78, 0.98)
    """Brightness of the air, in [0, 1]."""
    tint: Range = 0.02
    """Standard deviation of the colour of the air per channel, in [0, 0.5]."""
    slope: Range = (0.0, 0.9)
    """Growth of the depth from bottom to top of a photograph 400 px high, in mean depths, in [0, 2]."""
    relief: Range = (0.1, 0.35)
    """Standard deviation of the smooth variation of the depth, in mean depths, in [0, 1]."""
    spacing: Range = (100.0, 200.0)
    """Width in px of that variation, in [4, 10000]."""

    def __post_init__(self) -> None:
        self.limit(beta=(0, 10), airlight=(0, 1), tint=(0, 0.5), slope=(0, 2), relief=(0, 1), spacing=(4, 10000))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        air = self.air(image.shape, draw)
        return scatter(image, air)

    def air(self, shape: torch.Size, draw: Draw) -> Air:
        """Draw depth, scattering coefficient and airlight for an image (C, H, W)."""
        channels, height, width = shape
        beta = draw.uniform(self.beta)
        airlight = draw.uniform(self.airlight) + draw.uniform(self.tint) * draw.randn(channels, 1, 1)
        start = draw.uniform((0.0, max(0.0, 1 - height / NOMINAL_HEIGHT)))
        rise = start + (height - 1 - torch.arange(height)) / max(NOMINAL_HEIGHT, height)
        depth = 1 + draw.uniform(self.slope) * (rise[:, None] - 0.5)
        spacing = draw.uniform(self.spacing)
        depth = depth + draw.uniform(self.relief) * smooth_field(height, width, spacing, draw)
        return Air(depth.clamp(min=0.05), beta, airlight.clamp(0, 1))


def scatter(image: Tensor, air: Air) -> Tensor:
    """Apply the scattering equation y = t x + (1 - t) A to an image (C, H, W)."""
    return air.airlight + air.transmission * (image - air.airlight)
