"""Even borders around pictures: bars of a film, a mat, a frame.

A border is no part of the picture. By it a model that judges whole pictures may take this one for drawn, or dark, and miss what
ails it; so what lies within is restored as if it were alone, and the border stays as it is, bit for bit. A border lies at both
ends of an axis, and ends at an edge: what fades into the picture, a white sky or a black night, is none. Derived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rebridge.images import Image, as_floats, to_batch
from rebridge.models import Model
from rebridge.restoration.choices import Asked, seeds_of
from rebridge.restoration.samples import Samples

EVENNESS = 8 / 255
"""What pixels of a border may differ by along a line, and its lines among each other: JPEG leaves traces of what is beside."""
EDGE, EDGE_SHARE = 4 / 255, 0.65
"""What pixels of one line at the edge differ from the next by, and how many of them do, as a share, on the mean of both ends."""
BEHIND = 16
"""Lines behind a border in which its edge is looked for: JPEG blurs it over a block, of 16 lines where colours are coarse."""
LEAST_BORDER, LEAST_WITHIN = 4, 64
"""Lines of a border, and sides of the picture within it."""
CELLS, DRAWN = 12, 0.05
"""Cells along each axis, and the share of quite even ones above which what lies within was drawn: it is left with its border."""
NESTED = 3
"""Borders within each other, as a black line within a white mat."""
AT_ONCE = 64
"""Lines that are looked at together."""

Inside = tuple[slice, slice]
"""Rows and columns."""


def inside(image: Tensor) -> Inside | None:
    """Find the picture within even borders.

    Args:
        image: (C, H, W), floats in [0, 1] or bytes.

    Returns:
        Its rows and columns; None where there is no border, or too little within it, or a drawing.
    """
    height, width = image.shape[-2:]
    rows, columns = slice(0, height), slice(0, width)
    for _ in range(NESTED):
        first, last = _ends(image[:, rows, columns])
        rows = slice(rows.start + first, rows.stop - last)
        left, right = _ends(image[:, rows, columns].transpose(1, 2))
        columns = slice(columns.start + left, columns.stop - right)
        if not (first or last or left or right):
            break
    if (rows, columns) == (slice(0, height), slice(0, width)) or _even_share(image[:, rows, columns]) > DRAWN:
        return None
    return rows, columns


def _even_share(image: Tensor) -> float:
    """Count the cells in which all pixels are the same, as a share of all.

    As `statistics.even_share` does by a map of the air, which would need large pictures as floats.
    """
    cells = [cell for rows in image.tensor_split(CELLS, 1) for cell in rows.tensor_split(CELLS, 2)]
    return sum(bool((cell.amax((1, 2)) == cell.amin((1, 2))).all()) for cell in cells) / len(cells)


def _ends(lines: Tensor) -> tuple[int, int]:
    """Count the lines (C, N, L) that are a border at the beginning, and at the end; 0 where one has none."""
    first, edge = _border(lines, backwards=False)
    last, other = _border(lines, backwards=True) if first else (0, 0.0)
    is_border = first and last and (edge + other) / 2 > EDGE_SHARE
    return (first, last) if is_border and lines.shape[1] - first - last >= LEAST_WITHIN else (0, 0)


def _border(lines: Tensor, backwards: bool) -> tuple[int, float]:
    """Count the lines at one end that may be a border.

    Also returns the share of pixels that change at the line behind it where most do.
    """
    outermost = as_floats(lines[:, -1 if backwards else 0])
    if (outermost.amax(1) - outermost.amin(1)).max() > EVENNESS:
        return 0, 0.0  # as most pictures have it
    colour: Tensor | None = None
    count = 0
    for block in _blocks(lines, 0, AT_ONCE, backwards):
        mean = block.mean(2)
        colour = mean[:, :1] if colour is None else colour
        even = ((block.amax(2) - block.amin(2) <= EVENNESS) & ((mean - colour).abs() <= EVENNESS)).all(0)
        ended = (~even).nonzero()
        count += len(even) if not len(ended) else int(ended[0])
        if len(ended):
            break
    if colour is None or count < LEAST_BORDER or count == lines.shape[1]:
        return 0, 0.0
    near = next(_blocks(lines, count - 1, BEHIND + 1, backwards))
    return count, (near.diff(dim=1).abs().amax(0) > EDGE).float().mean(1).max().item()


def _blocks(lines: Tensor, start: int, size: int, backwards: bool) -> Iterator[Tensor]:
    """Cut lines from a start on into blocks, as floats; counted from the end where it goes backwards."""
    count = lines.shape[1]
    for first in range(start, count, size):
        stop = min(first + size, count)
        block = lines[:, count - stop : count - first].flip(1) if backwards else lines[:, first:stop]
        yield as_floats(block)


def sets_aside(model: Model) -> bool:
    """Test if borders are set aside.

    So it is where a model judges whole pictures, and gets no maps of the size of these.
    """
    return model.examines and not model.info.conditions


def restored_within(model: Model, image: Any, asked: Asked, restore: Callable[[Any, Asked], Samples]) -> Samples:
    """Restore pictures within their borders, where these are set aside.

    They stay as they are.

    Args:
        model: the model.
        image: as `Restorer` takes it.
        asked: of the call.
        restore: restores an image, or a batch, without a look for borders.
    """
    if not sets_aside(model):
        return restore(image, asked)
    if isinstance(image, Image) and image.pixels.dtype == torch.uint8 and image.alpha is None:
        place = inside(image.pixels)
        if place is None:
            return restore(image, asked)
        found = _each(restore(Image(image.pixels[:, *place]), asked), lambda result: result.pixels[None])
        return _each(_put_back(found, image.pixels[None], place), lambda whole: image.with_pixels(whole[0]))
    batch = to_batch(image, model.info.channels)
    places = [inside(one) for one in batch.images]
    if not any(places):
        del batch  # restoring needs the room
        return restore(image, asked)
    rows = []
    for index, (place, seed) in enumerate(zip(places, seeds_of(asked.seed, len(places)), strict=True)):
        one = batch.images[index : index + 1]
        at = (slice(None), slice(None)) if place is None else place
        found = restore(one[:, :, *at], replace(asked, seed=[seed]))
        rows.append(_put_back(found, one, at))
    return Samples(
        batch.back(torch.cat([row.mean for row in rows])),
        torch.cat([row.std for row in rows]),
        [batch.back(torch.cat(sample)) for sample in zip(*(row.all for row in rows), strict=True)],
        max(row.calls for row in rows),
    )


def _each(found: Samples, change: Callable[[Any], Any]) -> Samples:
    """Change the mean and each sample."""
    return replace(found, mean=change(found.mean), all=[change(sample) for sample in found.all])


def _put_back(found: Samples, images: Tensor, place: Inside) -> Samples:
    """Put tensors that were made of a part of images (B, C, H, W) back into these."""

    def whole(part: Tensor) -> Tensor:
        larger = (images if images.dtype == part.dtype else as_floats(images)).clone()
        larger[..., *place] = part
        return larger

    std = found.std.new_zeros(images.shape)
    std[..., *place] = found.std
    return replace(_each(found, whole), std=std)
