"""Numbers about a picture as a whole.

By them a verdict tells kinds of degradation apart. Bright and dark lines by direction: rain is bright lines of one direction,
everywhere; in texture dark lines are as strong. The air: in haze what is far is pale, without contrast and without colour at
once; in sound pale pictures the dark stays dark. The grid of 8 x 8 pixels that JPEG leaves. Nothing is learned here. Derived;
measured by tools/train_verdict.py.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rebridge.networks.averages import block_means
from rebridge.networks.exporting import cell_maxima, cell_means, exporting, lower_median, quantiles, repeated_to
from rebridge.networks.layers import in_float32

TURNS = 16
KERNEL = 17
"""Side in pixels of the line filters."""
CELL = 32
"""Side in pixels of the blocks that energies are taken over, at the finest scale."""
SHARES_OF_BLOCKS = (0.25, 0.75)
LINE_NUMBERS = TURNS * 2 * (2 * (1 + len(SHARES_OF_BLOCKS)) + 1)
"""Numbers that `line_statistics` gives for a picture."""
STRIP = 2**15
"""Most pixels that are filtered at once: what is found of them stays in the processor's cache."""
LEAST_SIDE = 96
"""Smaller pictures are continued by repetition of their border."""
AIR_BLOCK = 8
"""Side in pixels of the blocks that air and grid are looked at in."""
LEAST_CONTRAST = 3e-3
"""What is added to the contrast of a block, in [0, 1], before its logarithm is taken."""
FIFTHS = 5
"""Groups of as many blocks each, from the darkest to the palest."""
TIE = 1e-3
"""Share of the brightness by which blocks are ordered that are equally dark."""
DARK_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
AIR_NUMBERS = 5 * FIFTHS + len(DARK_SHARES) + 4
"""Numbers that `air_statistics` gives for a picture."""
MAP_SIDE = 12
"""Cells along each axis of the map of the air."""
MAP_NUMBERS = 16
"""Numbers of each cell, see `air_map`."""
HALF_LEVEL = 0.5 / 255
"""What pixels of eight bits that are the same may differ by, in [0, 1], once they were scaled."""
SMOOTH = math.log(LEAST_CONTRAST + 0.8 / 255)
"""Mean contrast of a cell, as `air_map` has it, below which it is without grain."""
GRID_NUMBERS = 6
"""Numbers that `grid_statistics` gives for a picture."""
NUMBERS = LINE_NUMBERS + AIR_NUMBERS + GRID_NUMBERS
"""Numbers that `picture_statistics` gives for a picture."""


def picture_statistics(y: Tensor) -> Tensor:
    """Sum up pictures by lines, air and grid, (B, NUMBERS), float32.

    Pictures (B, 3, H, W) in [-1, 1]; those of less than `LEAST_SIDE` pixels are continued.
    """
    return in_float32(_statistics, continued(y))


def continued(y: Tensor) -> Tensor:
    """Continue small pictures (B, C, H, W) to `LEAST_SIDE` pixels, by their border."""
    if exporting():
        return repeated_to(y, LEAST_SIDE)
    missing = [max(LEAST_SIDE - side, 0) for side in y.shape[-2:]]
    return F.pad(y.float(), (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else y


def _statistics(y: Tensor) -> Tensor:
    return torch.cat([line_statistics(y), air_statistics(y), grid_statistics(y)], 1)


@lru_cache
def line_filters(across: float = 1.0, along: float = 4.0) -> np.ndarray:
    """Make filters for bright lines, (TURNS, 1, KERNEL, KERNEL), float32.

    They are the second derivative of a Gaussian of `across` px, smeared by one of `along` px; without mean, of absolute sum 1;
    direction k at k / TURNS of half a turn from the vertical. They are made once, whatever torch is doing then.
    """
    axis = np.arange(KERNEL) - KERNEL // 2
    y, x = axis[:, None], axis[None]
    filters = []
    for index in range(TURNS):
        angle = math.pi * index / TURNS
        u, v = x * math.cos(angle) - y * math.sin(angle), y * math.cos(angle) + x * math.sin(angle)
        profile = (1 - (u / across) ** 2) * np.exp(-(u**2) / (2 * across**2) - v**2 / (2 * along**2))
        profile = profile - profile.mean()
        filters.append(profile / np.abs(profile).sum())
    return np.stack(filters)[:, None].astype(np.float32)


def line_statistics(y: Tensor) -> Tensor:
    """Sum up the lines of pictures (B, 3, H, W) in [-1, 1] by direction.

    At the full and at half of the size, over blocks: mean and quantiles of the energy of bright and of dark lines, and the
    median of the brightest line. All in a logarithmic scale, (B, LINE_NUMBERS), float32. No side is under `LEAST_SIDE`.
    """
    grey = (y.float().mean(1, keepdim=True) + 1) / 2
    filters = torch.from_numpy(line_filters()).to(grey.device)
    found = []
    for scale in range(2):
        bright, dark, brightest = block_energies(grey, filters, CELL >> scale)
        shares = torch.tensor(SHARES_OF_BLOCKS, device=grey.device)
        for energies in (bright, dark):
            parts = quantiles(energies, shares) if exporting() else energies.quantile(shares, dim=2)
            values = [energies.mean(2), *parts.unbind()]
            found += [torch.log(value + 1e-7) / 2 for value in values]
        brightest = brightest.clamp_min(0)
        middle = lower_median(brightest) if exporting() else brightest.median(dim=2).values
        found.append(torch.log(middle + 1e-3))
        grey = block_means(grey, 2)
    return torch.cat(found, 1)


def block_energies(grey: Tensor, filters: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Filter pictures (B, 1, H, W) and sum up blocks of `side` pixels.

    In strips of rows, so that large pictures fit.

    Returns:
        Mean energy of bright and of dark lines, and the brightest line, each (B, TURNS, blocks).
    """
    height, width = grey.shape[-2] - KERNEL + 1, grey.shape[-1]
    rows = height if exporting() else max(STRIP // width // side, 1) * side
    parts: list[tuple[Tensor, ...]] = []
    for top in (0,) if exporting() else range(0, height, rows):
        answer = F.conv2d(grey[..., top : min(top + rows, height) + KERNEL - 1, :], filters)
        bright, dark = (block_averages(part.square_(), side) for part in (answer.relu(), answer.clamp(max=0)))
        parts.append((bright.flatten(2), dark.flatten(2), block_maxima(answer, side).flatten(2)))
    first, second, third = (torch.cat(kept, 2) for kept in zip(*parts, strict=True))
    return first, second, third


def block_averages(values: Tensor, side: int) -> Tensor:
    """Average blocks of `side` x `side` places.

    (B, C, H, W); those at the right and at the bottom may be smaller.
    """
    if exporting() or values.is_meta:
        return F.avg_pool2d(values, side, ceil_mode=True)
    total = values
    for axis in (-2, -1):  # sums along rows are faster than torch's pooling
        total = _reduced(torch.sum, total, axis, side)
        count = _reduced(torch.sum, values.new_ones(values.shape[axis]), -1, side)
        total = total / (count[:, None] if axis == -2 else count)
    return total


def block_maxima(values: Tensor, side: int) -> Tensor:
    """Find the greatest value in each of such blocks."""
    if exporting() or values.is_meta:
        return F.max_pool2d(values, side, ceil_mode=True)
    return _reduced(torch.amax, _reduced(torch.amax, values, -2, side), -1, side)


def _reduced(reduce: Callable[[Tensor, int], Tensor], values: Tensor, axis: int, side: int) -> Tensor:
    """One value for each `side` places along an axis, and for what is left of it."""
    length = values.shape[axis]
    whole = length // side * side
    found = reduce(values.narrow(axis, 0, whole).unflatten(axis, (whole // side, side)), axis if axis == -1 else -2)
    if whole == length:
        return found
    rest = reduce(values.narrow(axis, whole, length - whole), axis).unsqueeze(axis)
    return torch.cat([found, rest], axis)


def air_statistics(y: Tensor) -> Tensor:
    """Sum up what blocks have in common, from the darkest to the palest.

    In pictures (B, 3, H, W) in [-1, 1]. The dark channel of a block is the darkest colour in it (He, Sun and Tang 2009). Over
    fifths of the blocks by it: dark channel, brightness, logarithms of contrast and colourfulness, height in the picture;
    quantiles of the dark channel, and how it goes along with each of those. (B, AIR_NUMBERS), float32.
    """
    dark, light, contrast, colour, height = block_airs(y)
    order = (dark + TIE * light).sort(dim=1).indices
    ordered = torch.stack([values.gather(1, order) for values in (dark, light, contrast, colour, height)], 1)
    count = dark.shape[1]
    fifths = torch.arange(count, device=y.device)[:, None] * FIFTHS // count == torch.arange(FIFTHS, device=y.device)
    means = ordered @ (fifths.float() / fifths.sum(0))
    shares = torch.tensor(DARK_SHARES, device=y.device)
    quantile = quantiles(dark, shares) if exporting() else dark.quantile(shares, dim=1)
    together = [correlation_of_rows(dark, values)[:, None] for values in (light, contrast, colour, height)]
    return torch.cat([means.flatten(1), quantile.T, *together], 1)


def block_airs(y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Measure blocks of `AIR_BLOCK` pixels.

    In pictures (B, 3, H, W) in [-1, 1].

    Returns:
        Dark channel, brightness, logarithms of contrast and colourfulness, and height from 0 at the top to 1, each (B, blocks).
    """
    blocks = block_colours(y)
    low, mean, _, contrast = blocks.split([3, 3, 3, 1], 1)
    colour = mean.amax(1) - mean.amin(1)
    down = torch.arange(blocks.shape[2], dtype=torch.float32, device=y.device) / (blocks.shape[2] - 1)
    place = down[:, None].expand(blocks.shape[0], -1, blocks.shape[3])
    found = low.amin(1), mean.mean(1), contrast[:, 0], torch.log(colour + 1e-2), place
    dark, light, contrast, colour, place = (values.flatten(1) for values in found)
    return dark, light, contrast, colour, place


def block_colours(y: Tensor) -> Tensor:
    """Measure blocks of `AIR_BLOCK` pixels in strips of rows.

    In pictures (B, 3, H, W) in [-1, 1].

    Returns:
        (B, 10, H/8, W/8): least, mean and greatest value of each colour in [0, 1], and the logarithm of the contrast.
    """
    height, width = (side // AIR_BLOCK * AIR_BLOCK for side in y.shape[-2:])
    rows = height if exporting() else max(STRIP // width // AIR_BLOCK, 1) * AIR_BLOCK
    found: list[Tensor] = []
    for top in (0,) if exporting() else range(0, height, rows):
        strip = (y[..., top : min(top + rows, height), :width].float() + 1) / 2
        grey = strip.mean(1, keepdim=True)
        variance = block_means(grey.square(), AIR_BLOCK) - block_means(grey, AIR_BLOCK).square()
        contrast = torch.log(variance.clamp_min(0).sqrt() + LEAST_CONTRAST)
        least, most = -F.max_pool2d(-strip, AIR_BLOCK), F.max_pool2d(strip, AIR_BLOCK)
        found.append(torch.cat([least, block_means(strip, AIR_BLOCK), most, contrast], 1))
    return torch.cat(found, 2)


def air_map(y: Tensor) -> Tensor:
    """Sum up where pictures are pale, dark, colourful and full of contrast.

    In as many cells whatever the size, (B, MAP_NUMBERS, MAP_SIDE, MAP_SIDE), float32. Over the blocks of a cell: the least of the
    least and the mean of the least values of each colour, the mean of the means and the greatest of the greatest; mean and
    greatest contrast, greatest and least colourfulness.

    Args:
        y: (B, 3, H, W) in [-1, 1]; those of less than `LEAST_SIDE` pixels are continued.
    """

    def cells(blocks: Tensor) -> Tensor:
        low, mean, high, contrast = blocks.split([3, 3, 3, 1], 1)
        colour = mean.amax(1, keepdim=True) - mean.amin(1, keepdim=True)
        size = MAP_SIDE, MAP_SIDE
        if exporting():
            means, maxima = cell_means(torch.cat([low, mean, contrast], 1), *size), cell_maxima
        else:
            means, maxima = F.adaptive_avg_pool2d(torch.cat([low, mean, contrast], 1), size), adaptive_maxima
        low_mean, mean, contrast_mean = means.split([3, 3, 1], 1)
        extremes = maxima(torch.cat([-low, high, contrast, colour, -colour], 1), *size)
        darkest, brightest, contrast, most, least = extremes.split([3, 3, 1, 1, 1], 1)
        return torch.cat([-darkest, low_mean, mean, brightest, contrast_mean, contrast, most, -least], 1)

    return in_float32(lambda picture: cells(block_colours(picture)), continued(y))


def adaptive_maxima(h: Tensor, rows: int, columns: int) -> Tensor:
    """Compute `adaptive_max_pool2d` of (B, C, H, W) to (B, C, rows, columns)."""
    return F.adaptive_max_pool2d(h, (rows, columns))


def even_share(air: Tensor) -> Tensor:
    """Count the cells in which all pixels are the same.

    As a share of those of maps of the air (B, MAP_NUMBERS, ...), (B,). What a camera took has next to none: there is grain
    everywhere, and where it is cut off, not over a whole cell.
    """
    return ((air[:, 9:12] - air[:, :3]).amax(1) < HALF_LEVEL).float().mean((1, 2))


def smooth_share(air: Tensor) -> Tensor:
    """Count the cells without grain, as a share of all, (B,).

    Blocks of 8 x 8 pixels differ by less than a level of 255 there, on the mean.
    """
    return (air[:, 12] < SMOOTH).float().mean((1, 2))


def colour_alone(image: Tensor) -> Tensor:
    """Measure the colour of images that does not go along with brightness.

    That of grey and of toned pictures is next to 0, however warm the tone.

    Args:
        image: (B, 3, H, W) in [-1, 1].

    Returns:
        (B,): the root mean square of what remains of each colour less the brightness, in [0, 1], beside a line through it.
    """
    values = (image.float().flatten(2) + 1) / 2
    grey = values.mean(1, keepdim=True)
    colour = values - grey
    colour = colour - colour.mean(2, keepdim=True)
    bright = grey - grey.mean(2, keepdim=True)
    slope = (colour * bright).mean(2, keepdim=True) / (bright.square().mean(2, keepdim=True) + 1e-6)
    return (colour - slope * bright).square().mean((1, 2)).sqrt()


def correlation_of_rows(a: Tensor, b: Tensor) -> Tensor:
    """Correlate the rows of a and b, (B, N) each: (B,).

    It is 0 where one of them does not vary.
    """
    a, b = (values - values.mean(1, keepdim=True) for values in (a, b))
    both = (a.square().mean(1) * b.square().mean(1)).sqrt()
    return (a * b).mean(1) / (both + 1e-6)


def grid_statistics(y: Tensor) -> Tensor:
    """Measure the grid that JPEG leaves, wherever it begins.

    In pictures (B, 3, H, W) in [-1, 1]. Second differences by their place modulo 8, along rows and columns: logarithms of
    their mean, and of the greatest and the second greatest place beside the mean. (B, GRID_NUMBERS), float32.
    """
    grey = y.float().mean(1) / 2
    found = []
    for image in (grey, grey.transpose(1, 2)):
        count = (image.shape[1] - 3) // 8 * 8
        before, first, second, after = (image[:, start : start + count] for start in range(4))
        # a step between the two in the middle, beside the slopes to both sides of it
        steps = ((second - first) - (first - before + after - second) / 2).abs().mean(2)
        phases = steps.reshape(steps.shape[0], -1, 8).mean(1)
        mean = phases.mean(1, keepdim=True) + 1e-4
        found += [torch.log(mean), torch.log((phases + 1e-4) / mean).topk(2).values]
    return torch.cat(found, 1)
