"""Trials: what would be taken from a picture as weather, and what is left.

Fine bright texture looks like rain at first, and what is pale like haze. Where that is open, the picture is treated for a trial.
Where it rains, what is taken away is bright and lies everywhere, and what is left shows no rain; where it does not, little is
taken away, in few places, and what is left looks as before. Where there is haze, a picture without it has blacks and colours
everywhere; where there is none, it has them too deep or not at all. Where drops lie on a window, they are changed, and what
lies between them is not. Derived; fitted by tools/train_trial.py, tools/train_haze_trial.py and tools/train_drop_trial.py.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.averages import surrounding_means
from rebridge.networks.statistics import MAP_NUMBERS, MAP_SIDE, air_map, colour_alone, correlation_of_rows
from rebridge.networks.verdict import MapVoice, with_mirrored

LAYER_BLOCK = 32
"""Side in pixels of the blocks over which it is seen how evenly a change is spread."""
CONTRAST_BLOCK = 8
"""Side in pixels of the blocks whose contrast a change is compared with."""
SPREAD = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the size of a change over the blocks."""
LAYER_NUMBERS = 7 + len(SPREAD)
"""Numbers that `layer_numbers` gives."""
FAINT = 1e-4
"""A change that is too small to be seen, in [0, 1]."""
TRACES = (-5.0, -2.0)
"""Logits of JPEG between which a picture goes from sound to compressed."""
COARSE_RAIN = 3.0
"""How much surer a trial must be of rain, in logits, in a compressed picture."""
NOISY, MOST_NOISY = 0.2, 0.4
"""Share of that for each logit of noise above 0, and the most for noise."""
HAZE_VOICES = 2
"""Layers that judge a trial of haze, fitted apart; their mean counts."""
HAZE_MAPS = 2 * MAP_NUMBERS + 1
"""Maps that they see: of the air with and without the haze, and of its depth."""
HAZE_NUMBERS = 4
"""Numbers that they hear, see `Unveiled`."""
LEARNED = 0.7
"""Weight of what voices have learned of trials of haze."""
BY_CHANGE, USUAL_CHANGE = 1.5, 0.226
"""How much surer of haze a trial makes besides, in logits, for each unit of the size of the change beyond the usual one, in
[-1, 1]: what sound pictures have in common with hazy ones is little beside what haze takes, whatever was learned from."""
LEAST_SURE, SUREST = -6.0, 10.0
"""Logits of haze before a trial beyond which it makes no difference."""
CHANGE_MAPS = 11
"""Maps that `change_maps` gives."""
LEAST_CHANGE = 1e-6
"""What is added to the energy of a change, of values in [0, 1], before its logarithm is taken; to the greatest, ten times."""
LEAST_SEEN = 0.01
"""Root mean square of a change of the brightness, in [0, 1], above which it is seen."""
LEAST_COLOUR = 5e-3
"""What is added to the colour of a picture before its logarithm is taken."""
TRIAL_PARTS, TRIAL_SIDE = 3, 128
"""A trial is made on so many parts of a picture along each axis, of so many pixels; a smaller picture is taken whole."""


def layer_numbers(y: Tensor, x: Tensor) -> Tensor:
    """Sum up what was taken from pictures y to get pictures x.

    Both are (B, 3, H, W) in [-1, 1]. Logarithms of its size and of quantiles of the size over blocks, how evenly it is
    spread, the share of it that was bright, its skewness, its colourfulness, how much it has one direction, and how much
    it goes along with the contrast of x.
    (B, LAYER_NUMBERS), float32.
    """
    taken = (y.float() - x.float()) / 2
    grey = taken.mean(1, keepdim=True)
    size = _mean(grey.square()).sqrt()
    energies = (
        F.avg_pool2d(grey.square(), min(LAYER_BLOCK, *grey.shape[-2:]), ceil_mode=True).flatten(1).clamp_min(1e-12)
    )
    spread = energies.quantile(torch.tensor(SPREAD, device=y.device), dim=1).sqrt().T
    even = energies.sqrt().mean(1).square() / energies.mean(1)
    bright = _mean(grey.clamp_min(0)) / (_mean(grey.abs()) + 1e-6)
    skewness = (_mean(grey**3) / (size**3 + 1e-9)).clamp(-10, 10)
    colour = (_mean((taken - grey).square()).sqrt() / (size + FAINT)).clamp(max=2)
    across = grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]
    down = grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]
    a, b, c = _mean(across.square()), _mean(down.square()), _mean(across * down)
    direction = ((a - b).square() + 4 * c.square()).sqrt() / (a + b + 1e-9)
    left = x.float().mean(1, keepdim=True)
    contrast = F.avg_pool2d(left.square(), CONTRAST_BLOCK) - F.avg_pool2d(left, CONTRAST_BLOCK).square()
    change = F.avg_pool2d(grey.abs(), CONTRAST_BLOCK)
    along = correlation_of_rows(contrast.clamp_min(0).sqrt().flatten(1), change.flatten(1))
    sizes = torch.log(torch.cat([size[:, None], spread], 1) + FAINT)
    return torch.cat([sizes, torch.stack([even, bright, skewness, colour, direction, along], 1)], 1)


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def coarseness(logits: Tensor) -> Tensor:
    """Share in [0, 1] to which pictures are compressed, by their logits of JPEG (B,)."""
    least, most = TRACES
    return ((logits - least) / (most - least)).clamp(0, 1)


def doubt_of_rain(jpeg: Tensor, noise: Tensor) -> Tensor:
    """By how much rain is to be doubted, in logits, at least 0.

    By logits of JPEG and of noise (B,), whose traces look like rain.
    """
    return COARSE_RAIN * torch.maximum(coarseness(jpeg), (NOISY * noise).clamp(0, MOST_NOISY))


class RainTrial(nn.Module):
    """Logit (B,) that it rains, from what a trial showed.

    kinds: of degradation that an examiner tells. mean, scale: of each number, as the training pictures have them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, kinds: int, width: int = 24) -> None:
        super().__init__()
        known = 2 * kinds + LAYER_NUMBERS
        self.register_buffer("mean", torch.zeros(known))
        self.register_buffer("scale", torch.ones(known))
        self.layers = nn.Sequential(nn.Linear(known, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, known: Tensor) -> Tensor:
        """Judge numbers (B, known) as `numbers_of_trial` joins them.

        Those that no training picture came near to are cut off.
        """
        logit: Tensor = self.layers(((known.float() - self.mean) / self.scale).clamp(-4, 4))[:, 0]
        return logit.float()


def numbers_of_trial(before: Tensor, after: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Join all that a trial showed, (B, known).

    Args:
        before: logits (B, kinds) of y.
        after: logits (B, kinds) of x.
        y: pictures (B, 3, H, W) in [-1, 1].
        x: the same, treated.
    """
    return torch.cat([before, after, layer_numbers(y, x)], 1)


class Unveiled(NamedTuple):
    """Numbers that a trial of haze shows of pictures."""

    maps: Tensor
    """(B, HAZE_MAPS, MAP_SIDE, MAP_SIDE): `air_map` with and without the haze, and its optical depth."""
    numbers: Tensor
    """(B, HAZE_NUMBERS): logit of haze before, size of the change, logarithms of `colour_alone` without the haze and with it."""


def unveiled(haze: Tensor, y: Tensor, x: Tensor, depth: Tensor) -> Unveiled:
    """Collect what a trial of haze showed.

    Args:
        haze: logit of haze before, (B,).
        y: pictures, (B, 3, H, W) in [-1, 1].
        x: the same without their haze.
        depth: optical depth of the haze, (B, 1, H/8, W/8).
    """
    maps = torch.cat([air_map(y), air_map(x), F.adaptive_avg_pool2d(depth.float(), (MAP_SIDE, MAP_SIDE))], 1)
    size = _mean((x.float() - y.float()).square()).sqrt()
    colours = [torch.log(colour_alone(picture) + LEAST_COLOUR) for picture in (x, y)]
    return Unveiled(maps, torch.stack([haze.float().clamp(LEAST_SURE, SUREST), size, *colours], 1))


class HazeTrial(nn.Module):
    """Logit (B,) that there is haze, from what a trial showed.

    That from before, what was learned to be added, and something for the size of the change.

    mean, scale: of each number, as the training pictures have them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int = 14, deeper: int = 20) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(HAZE_NUMBERS))
        self.register_buffer("scale", torch.ones(HAZE_NUMBERS))
        self.voices = nn.ModuleList(MapVoice(HAZE_MAPS, HAZE_NUMBERS, width, deeper) for _ in range(HAZE_VOICES))

    def forward(self, shown: Unveiled) -> Tensor:
        """Judge; numbers that no training picture came near to are cut off."""
        learned = with_mirrored(self.voices, shown.maps, self.scaled(shown.numbers)).mean(0)
        before, size = shown.numbers[:, 0], shown.numbers[:, 1]
        return before + LEARNED * learned + BY_CHANGE * (size - USUAL_CHANGE)

    def scaled(self, numbers: Tensor) -> Tensor:
        """Scale numbers (B, HAZE_NUMBERS) as the voices hear them."""
        return ((numbers - self.mean) / self.scale).clamp(-6, 6)


def change_maps(y: Tensor, x: Tensor) -> Tensor:
    """Sum up where pictures y were changed to get pictures x, and how.

    In as many cells whatever the size, (B, CHANGE_MAPS, MAP_SIDE, MAP_SIDE), float32. Over each: how much brighter it became;
    logarithms of the energy of that and of the change of colour, of what is fine in y and in x, and of the slopes of y, of x and
    of the change; and those of the steepest slope of y and of x and of the greatest change.

    Args:
        y: (B, 3, H, W) in [-1, 1], sides at least `MAP_SIDE`.
        x: the same, treated.
    """
    y, x = ((picture.float() + 1) / 2 for picture in (y, x))
    before, after = (picture.mean(1, keepdim=True) for picture in (y, x))
    lighter = after - before
    coloured = (x - y - lighter).square().mean(1, keepdim=True)
    fine = [(grey - surrounding_means(grey)).square() for grey in (before, after)]
    slopes = [_slopes(grey) for grey in (before, after, lighter)]
    size = MAP_SIDE, MAP_SIDE
    energies = F.adaptive_avg_pool2d(torch.cat([lighter.square(), coloured, *fine, *slopes], 1), size)
    greatest = F.adaptive_max_pool2d(torch.cat([*slopes[:2], lighter.square()], 1), size)
    logarithms = torch.log(torch.cat([energies + LEAST_CHANGE, greatest + 10 * LEAST_CHANGE], 1)) / 2
    return torch.cat([10 * F.adaptive_avg_pool2d(lighter, size), logarithms], 1)


def changed_share(maps: Tensor) -> Tensor:
    """Find the share of the places in which pictures were changed visibly, (B,).

    maps: `change_maps`.
    """
    return (maps[:, 1] > math.log(LEAST_SEEN)).float().mean((1, 2))


def _slopes(grey: Tensor) -> Tensor:
    """Squares of the differences along both diagonals, (B, 1, H, W), 0 at the last of each axis."""
    down = grey[..., 1:, 1:] - grey[..., :-1, :-1]
    up = grey[..., :-1, 1:] - grey[..., 1:, :-1]
    return F.pad(down.square() + up.square(), (0, 1, 0, 1))


class Wiped(NamedTuple):
    """Maps and numbers that a trial of raindrops shows of pictures."""

    maps: Tensor
    """(B, CHANGE_MAPS, MAP_SIDE, MAP_SIDE): `change_maps`."""
    numbers: Tensor
    """(B, 2 * kinds + LAYER_NUMBERS): `numbers_of_trial`."""


class DropTrial(nn.Module):
    """Logit (B,) that there are raindrops before a picture, from what a trial showed.

    kinds: of degradation that an examiner tells. mean, scale: of each number, as the training pictures have them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, kinds: int, width: int = 10, deeper: int = 14) -> None:
        super().__init__()
        numbers = 2 * kinds + LAYER_NUMBERS
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))
        self.voices = nn.ModuleList([MapVoice(CHANGE_MAPS, numbers, width, deeper)])

    def forward(self, shown: Wiped) -> Tensor:
        """Judge; numbers that no training picture came near to are cut off."""
        return with_mirrored(self.voices, shown.maps, self.scaled(shown.numbers)).mean(0)

    def scaled(self, numbers: Tensor) -> Tensor:
        """Scale numbers as the voices hear them."""
        return ((numbers.float() - self.mean) / self.scale).clamp(-4, 4)
