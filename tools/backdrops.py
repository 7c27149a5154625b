"""Sound pictures of things before an even backdrop, which is what haze is most easily mistaken for."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from rebridge.degradations.base import Draw
from rebridge.networks.averages import surrounding_means


def before_backdrop(image: Tensor, draw: Draw) -> Tensor:
    """Put parts of a picture (3, H, W) in [0, 1] before an even backdrop: sky, water, a wall, what is out of focus."""
    mask = _parts(*image.shape[-2:], draw)
    return _backdrop(*image.shape[-2:], draw) * (1 - mask) + image * mask


def _backdrop(height: int, width: int, draw: Draw) -> Tensor:
    """A pale or dark colour, or any, that goes over into another."""
    light = draw.uniform((0.35, 0.97)) if draw.uniform((0, 1)) < 0.75 else draw.uniform((0.02, 0.4))
    colour = (light * (1 + draw.uniform((0, 0.25)) * (draw.rand(3, 1, 1) * 2 - 1))).clamp(0, 1)
    if draw.uniform((0, 1)) < 0.35:
        colour = draw.rand(3, 1, 1)
    other = (colour + draw.uniform((0, 0.25)) * (draw.rand(3, 1, 1) * 2 - 1)).clamp(0, 1)
    down, across = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)[None]
    turn = draw.uniform((-0.8, 0.8))
    ramp = (down * math.cos(turn) + across * math.sin(turn)).clamp(0, 1)
    grain = draw.uniform((0, 0.012)) * (draw.rand(3, height, width) - 0.5)
    return (colour + (other - colour) * ramp + grain).clamp(0, 1)


def _parts(height: int, width: int, draw: Draw) -> Tensor:
    """What stands before it, (H, W) in [0, 1]: the ground, and discs, sails and boxes above."""
    page = np.zeros((height, width), np.uint8)
    horizon = draw.uniform((0.35, 1.25))
    page[min(int(horizon * height), height) :] = 255
    for _ in range(draw.integer(0 if horizon < 0.8 else 1, 5)):
        x, y = draw.integer(0, width - 1), draw.integer(0, height - 1)
        across, down = draw.integer(width // 12, width // 2), draw.integer(height // 10, int(0.7 * height))
        match draw.integer(0, 2):
            case 0:
                turn = draw.integer(0, 180)
                cv2.ellipse(page, (x, y), (across // 2, down // 2), turn, 0, 360, 255, -1, cv2.LINE_AA)
            case 1:
                lean = draw.integer(0, across // 2), draw.integer(0, down // 4)
                corners = [[x, y - down], [x - across // 2, y], [x + lean[0], y + lean[1]]]
                cv2.fillPoly(page, [np.array(corners)], 255, cv2.LINE_AA)
            case _:
                cv2.rectangle(page, (x, y), (x + across, y + down), 255, -1)
    mask = torch.from_numpy(page) / 255
    return surrounding_means(surrounding_means(mask[None, None]))[0, 0] if draw.uniform((0, 1)) < 0.3 else mask
