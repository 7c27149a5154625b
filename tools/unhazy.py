"""Sound pictures that look hazy: soft art, faded photographs without colours, and what is seen from very near."""

import math

import cv2
import torch
from torch import Tensor

from rebridge.degradations.base import Draw
from rebridge.degradations.preparation import toned
from rebridge.degradations.softness import resize

LUMA = torch.tensor((0.299, 0.587, 0.114)).view(3, 1, 1)


def art(side: int, draw: Draw) -> Tensor:
    """Paint shapes with soft edges and shadows on a colour that goes over into another, (3, side, side) in [0, 1]."""
    light, tint = draw.uniform((0.15, 0.98)), draw.uniform((0, 0.35))

    def colour() -> Tensor:
        return (light * (1 + draw.uniform((-0.35, 0.25))) + tint * (draw.rand(3, 1, 1) - 0.5)).clamp(0, 1)

    down, across = torch.linspace(0, 1, side)[:, None], torch.linspace(0, 1, side)[None]

    def graded() -> Tensor:
        turn = draw.uniform((0, 2 * math.pi))
        ramp = ((down - 0.5) * math.cos(turn) + (across - 0.5) * math.sin(turn) + 0.5).clamp(0, 1)
        return colour() * (1 - ramp) + colour() * ramp

    page = graded()
    for _ in range(draw.integer(0, 9)):
        paint, inside = graded(), _shape(down, across, draw)
        soft = draw.log_uniform((0.002, 0.15)) if draw.uniform((0, 1)) < 0.6 else 0.003
        mask = (inside / soft / 2 + 0.5).clamp(0, 1)
        if draw.uniform((0, 1)) < 0.5:
            far = draw.uniform((0.02, 0.12))
            shadow = (inside.roll(int(far * side / 3), 0) / far / 2 + 0.5).clamp(0, 1)
            page = page * (1 - draw.uniform((0.1, 0.6)) * shadow * (1 - mask))
        page = page * (1 - mask) + paint * mask
    if draw.uniform((0, 1)) < 0.5:
        page = page + draw.uniform((0, 0.02)) * draw.randn(3, side, side)
    return page.clamp(0, 1)


def _shape(down: Tensor, across: Tensor, draw: Draw) -> Tensor:
    """Draw an ellipse, a wavy half, a box or stripes: above 0 inside, (H, W), in shares of the side."""
    turn, x, y = draw.uniform((0, 2 * math.pi)), across - draw.uniform((0, 1)), down - draw.uniform((0, 1))
    along, beside = math.cos(turn) * x + math.sin(turn) * y, math.cos(turn) * y - math.sin(turn) * x
    match draw.integer(0, 3):
        case 0:
            return draw.uniform((0.05, 0.5)) - (x.square() + y.square() * draw.uniform((0.5, 2))).sqrt()
        case 1:
            return along + draw.uniform((0, 0.2)) * torch.sin(draw.uniform((2, 14)) * beside)
        case 2:
            return torch.minimum(draw.uniform((0.02, 0.4)) - along.abs(), draw.uniform((0.02, 0.4)) - beside.abs())
    waves = draw.uniform((3, 20))
    return torch.sin(2 * math.pi * waves * along) / waves / 6


def faded(image: Tensor, draw: Draw) -> Tensor:
    """Make a grey or toned photograph of (3, H, W) in [0, 1], whose contrast has faded: nobody can say that it was hazy."""
    grey = (LUMA * image).sum(0, keepdim=True)
    paled = toned(grey, draw.uniform((0, 0.35)) if draw.uniform((0, 1)) < 0.5 else 0.0)
    if draw.uniform((0, 1)) < 0.2:
        paled = paled + draw.uniform((0, 0.05)) * draw.randn(3, 1, 1) * grey
    left = draw.uniform((0.3, 1))
    return (draw.uniform((0, 1)) * (1 - left) + left * paled).clamp(0, 1)


def closeup(stored: Tensor, size: int, draw: Draw) -> Tensor:
    """Enlarge a small part of a stored picture, (3, size, size) in [0, 1]: textures, and what is soft."""
    height, width = stored.shape[-2:]
    side = min(draw.integer(48, 160), height, width)
    top, left = draw.integer(0, height - side), draw.integer(0, width - side)
    part = stored[:, top : top + side, left : left + side]
    part = part.float() / 255 if part.dtype == torch.uint8 else part
    return resize(part, size, size, cv2.INTER_CUBIC).clamp(0, 1)
