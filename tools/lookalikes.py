"""Sound pictures that look as if raindrops lay before them: discs, balls and bubbles, and what is out of focus."""

import torch
from torch import Tensor

from rebridge.degradations.base import Draw
from rebridge.degradations.optics import convolve, gaussian_kernel


def _grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Places (H, 1) and (1, W) of pixels, in shares of the shorter side."""
    side = min(height, width)
    return torch.arange(height)[:, None] / side, torch.arange(width)[None] / side


def discs(image: Tensor, draw: Draw) -> Tensor:
    """Put shaded discs before a picture (3, H, W) in [0, 1], in one colour or showing another part of the picture."""
    height, width = image.shape[-2:]
    down, across = _grid(height, width)
    for _ in range(draw.integer(1, 30)):
        y, x, radius = draw.uniform((0, 1)), draw.uniform((0, 1)), draw.log_uniform((0.015, 0.15))
        far = torch.hypot(down - y, across - x) / radius
        mask = (0.5 + (1 - far) * radius / draw.log_uniform((0.004, 0.02))).clamp(0, 1)
        shade = 1 - draw.uniform((0, 0.7)) * far.clamp(max=1).square()
        if draw.uniform((0, 1)) < 0.7:
            shown = draw.rand(3, 1, 1)
        else:
            shown = image.roll((draw.integer(0, height - 1), draw.integer(0, width - 1)), (1, 2))
        image = image * (1 - mask) + mask * shown * shade
    return image.clamp(0, 1)


def out_of_focus(image: Tensor, draw: Draw) -> Tensor:
    """Blur a picture (3, H, W) in [0, 1] but for what lies at one place or depth, often with discs of light."""
    down, across = _grid(*image.shape[-2:])
    y, x, radius = draw.uniform((0.2, 0.8)), draw.uniform((0.2, 0.8)), draw.uniform((0.08, 0.45))
    stripe = draw.uniform((0, 1)) < 0.5
    beyond = (down - y).abs() - 0.7 * radius + 0 * across if stripe else torch.hypot(down - y, across - x) - radius
    sharp = (0.5 - beyond / draw.log_uniform((0.01, 0.3))).clamp(0, 1)
    far = convolve(image, gaussian_kernel(draw.log_uniform((1.0, 8.0))))
    if draw.uniform((0, 1)) < 0.4:
        for _ in range(draw.integer(2, 25)):
            away = torch.hypot(down - draw.uniform((0, 1)), across - draw.uniform((0, 1)))
            light = (0.5 + (draw.uniform((0.01, 0.07)) - away) / draw.uniform((0.003, 0.02))).clamp(0, 1)
            far = far + draw.uniform((0.15, 0.8)) * light * (0.5 + 0.5 * draw.rand(3, 1, 1) - far).clamp(min=0)
    return (sharp * image + (1 - sharp) * far).clamp(0, 1)
