"""Tiling: a denoiser that evaluates another one in overlapping tiles.

The sampler never knows.

The sampler's state and noise stay full-size, so tiles share every random number and meet again at each step. The
estimates are blended with weights w_i that sum to one at every pixel,

    x0_hat = sum_i w_i * denoiser(x_t[tile_i], t, y[tile_i]),

where w_i is 0 in the outer quarter of the overlap, then rises linearly. A denoiser that looks no farther than a
quarter of the overlap therefore gives exactly what it would give on the whole image. With a context the denoiser sees so
many pixels more around each tile, and one that looks no farther than these gives exactly that too.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from rebridge.denoisers.base import Denoiser, Estimate, Progress, as_estimate
from rebridge.images.atomic import out_of_memory
from rebridge.networks.layers import pad_to_multiple

SMALLEST_TILE = 64
DEFAULT_OVERLAP = 64
GRID = 32
"""Pixels between the windows that networks filter by: what is seen of an image begins where one of its windows does."""
OVERLAP_IN_CONTEXT = 32
"""By default, of tiles with a context: they hardly differ where they meet."""

WeightedPlace = tuple[slice, Tensor]
"""A place on an axis and the weights of its pixels, as `partition` yields them."""
PartDenoiser = Callable[[slice, slice], Denoiser]
"""Called as of_tile(rows, columns): the denoiser for one part of the whole image."""


class Divisible:
    """A denoiser of whole images, and of parts that are judged as in the whole.

    Args:
        whole: the denoiser.
        part: see `PartDenoiser`.
    """

    def __init__(self, whole: Denoiser, part: PartDenoiser) -> None:
        self.whole = whole
        self.part = part

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor | Estimate:
        """Estimate x0 for whole images."""
        return self.whole(x_t, t, y)


class TiledDenoiser:
    """A denoiser applied in tiles.

    On memory exhaustion the tiles are halved for good and the evaluation is repeated.

    Args:
        denoiser: what is evaluated on the tiles.
        tile: largest side of what is seen at once in pixels, rounded up to a multiple of `align`; None takes the image whole
            until memory runs out. With a context at least the context and 64 pixels.
        overlap: pixels that neighbours share, their context not counted, at most half a tile; by default 64, or a quarter of
            smaller tiles.
        batch: tiles per evaluation.
        align: tiles begin at multiples of this, so that networks that downsample see the same grid in each of them.
        progress: called as progress(done, total) after every evaluation; an exception from it ends the run.
        of_tile: called as of_tile(rows, columns), gives the denoiser for one tile, for denoisers that were bound to the whole
            image; tiles are then taken one by one.
        context: pixels that are seen beside a tile on each side, which depends on them.

    Raises:
        ValueError: a tile, overlap, batch or align out of range.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        tile: int | None = None,
        overlap: int | None = None,
        batch: int = 1,
        align: int = 16,
        progress: Progress | None = None,
        of_tile: PartDenoiser | None = None,
        context: int = 0,
    ) -> None:
        if tile is not None and tile < 1:
            raise ValueError(f"tile must be at least 1 pixel, got {tile}")
        if overlap is not None and overlap < 0:
            raise ValueError(f"overlap must not be negative, got {overlap}")
        if tile is not None and overlap is not None and 2 * overlap > tile:
            raise ValueError(f"overlap must be at most half of the tile of {tile} pixels, got {overlap}")
        if batch < 1 or align < 1:
            raise ValueError(f"batch and align must be at least 1, got {batch} and {align}")
        self.denoiser = denoiser
        self.tile = tile
        self.overlap = overlap
        self.batch = batch
        self.align = align
        self.progress = progress
        self.of_tile = of_tile
        self.context = _up(context, align)

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Estimate:
        """Blend the estimates of all tiles, for x_t, y (B, C, H, W) and t (B,)."""
        while True:
            try:
                return self._denoise(x_t, t, y)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or not self.shrink(max(x_t.shape[-2:])):
                    raise
            # Outside the handler: the traceback would keep the tensors of the failed call alive.
            if x_t.device.type == "cuda":
                torch.cuda.empty_cache()

    def _denoise(self, x_t: Tensor, t: Tensor, y: Tensor) -> Estimate:
        height, width = x_t.shape[-2:]
        if not self.divides(height, width):
            return as_estimate(self.denoiser(x_t, t, y))
        if not self.context:  # with one the network extends the last tile as it does the whole image
            x_t, y = (pad_to_multiple(image, self.align) for image in (x_t, y))
        rows_and_columns = self.places(x_t.shape[-2], x_t.shape[-1], x_t)
        places = [(row, column) for row in rows_and_columns[0] for column in rows_and_columns[1]]
        x0 = torch.zeros_like(x_t)
        noise: Tensor | None = None
        batch = self.batch if self.of_tile is None and not self.context else 1
        for first in range(0, len(places), batch):
            chosen = places[first : first + batch]
            around = [tuple(self.around(place) for place, _ in pair) for pair in chosen]
            denoiser = self.denoiser if self.of_tile is None else self.of_tile(*around[0])
            x_tiles, y_tiles = (
                torch.cat([image[..., rows, columns] for rows, columns in around]) for image in (x_t, y)
            )
            estimate = as_estimate(denoiser(x_tiles, t.repeat(len(chosen)), y_tiles))
            if estimate.noise is not None and noise is None:
                noise = torch.zeros_like(x_t)
            for index, ((row, row_weights), (column, column_weights)) in enumerate(chosen):
                weights = row_weights[:, None] * column_weights
                part = slice(index * x_t.shape[0], (index + 1) * x_t.shape[0])
                inner = (part, slice(None), *map(within, (row, column), around[index]))
                x0[..., row, column] += weights * estimate.x0[inner]
                if noise is not None and estimate.noise is not None:
                    noise[..., row, column] += weights * estimate.noise[inner]
            if self.progress is not None:
                self.progress(first + len(chosen), len(places))
        return Estimate(x0[..., :height, :width], None if noise is None else noise[..., :height, :width])

    def _seen(self, tile: int) -> int:
        """The side of what is seen at once: a tile and its context."""
        return max(tile, 2 * self.context + SMALLEST_TILE) if self.context else tile

    def divides(self, height: int, width: int) -> bool:
        """Test if images of some size are taken in tiles."""
        return self.tile is not None and max(height, width) > self._seen(self.tile)

    def places(
        self, height: int, width: int, like: Tensor | None = None
    ) -> tuple[list[WeightedPlace], list[WeightedPlace]]:
        """Divide the rows and the columns of images into tiles.

        See `partition`, and `partition_seen` with a context.
        """
        seen = _up(self._seen(self.tile or max(height, width)), self.align)
        core = seen - 2 * self.context
        default = OVERLAP_IN_CONTEXT if self.context else DEFAULT_OVERLAP
        overlap = min(default, core // 4) if self.overlap is None else min(self.overlap, core // 2)

        def divided(side: int) -> list[WeightedPlace]:
            if self.context:
                return list(partition_seen(side, seen, overlap, self.context, self.align, like))
            return list(partition(side, core, overlap, self.align, like))

        return divided(height), divided(width)

    def around(self, place: slice) -> slice:
        """Widen a tile's place by its context.

        Beyond the end of an axis a slice ends by itself.
        """
        return slice(max(place.start - self.context, 0), place.stop + self.context)

    def shrink(self, side: int) -> bool:
        """Halve the batch of tiles, then the tile; False when nothing is left to halve."""
        if self.tile is not None and self.tile < side and self.batch > 1:
            self.batch = 1
            return True
        seen = min(side, self._seen(self.tile or side))
        tile = _up(seen // 2, self.align)
        if tile < SMALLEST_TILE or self._seen(tile) >= seen:
            return False
        self.tile = tile
        self.overlap = None if self.overlap is None else min(self.overlap, tile // 4)
        return True


def within(place: slice, around: slice) -> slice:
    """Find a place in what is seen around it."""
    return slice(place.start - around.start, place.stop - around.start)


def partition(
    length: int, tile: int, overlap: int, align: int = 1, like: Tensor | None = None
) -> Iterator[WeightedPlace]:
    """Divide an axis into tiles, with weights that sum to one at every pixel.

    All tiles have one size, and begin at multiples of `align` when `length` and `tile` are such multiples.

    Args:
        length: of the axis, in pixels.
        tile: largest size of a tile.
        overlap: pixels that neighbours share.
        align: see above.
        like: a tensor of the dtype and device that weights shall have.

    Yields:
        The place of each tile and its weights.
    """
    tile = _evened(length, min(tile, length), overlap, align)
    overlap = min(overlap, tile // 2)
    stride = _stride(tile, overlap, align)
    starts = [*range(0, length - tile, stride), length - tile]
    margin = overlap // 4
    windows = _windows(length, starts, tile, margin, overlap - 2 * margin)
    for window, start in zip(windows, starts, strict=True):
        place = slice(start, start + tile)
        yield place, window[place] if like is None else window[place].to(like)


def partition_seen(
    length: int, seen: int, overlap: int, context: int, align: int = 1, like: Tensor | None = None
) -> Iterator[WeightedPlace]:
    """Divide an axis into tiles that all see as much.

    Those at the ends too, so that memory that one tile has left suits the next. What is seen begins at multiples of `GRID`, and
    ends at one of `align` or with the axis.

    Args:
        length: of the axis, in pixels.
        seen: largest size of a tile with its context, exceeded where that leaves too little for the tile.
        overlap: pixels that neighbours share, their context not counted.
        context: pixels that are seen beside a tile on each side that has a neighbour.
        align: see above.
        like: a tensor of the dtype and device that weights shall have.

    Yields:
        The place of each tile without its context, and its weights.
    """
    count, stride = _alike(length, seen, overlap + 2 * context)
    tile = _up(length - (count - 1) * stride, align)
    starts = [index * stride for index in range(count)]
    margin = overlap // 4
    windows = _windows(starts[-1] + tile, starts, tile, context + margin, overlap - 2 * margin)
    for window, start in zip(windows, starts, strict=True):
        stop = start + tile
        place = slice(start + context * (start > 0), stop - context if stop < length else length)
        yield place, window[place] if like is None else window[place].to(like)


def _alike(length: int, seen: int, shared: int) -> tuple[int, int]:
    """How many tiles of one size, and from one to the next, where neighbours share so many pixels."""
    found = 1, 0
    if length <= seen:
        return found
    for count in range(2, length):
        stride = (length - shared) // count // GRID * GRID
        if stride < GRID:
            break
        found = count, stride
        if length - (count - 1) * stride <= seen:
            break
    return found


def _windows(length: int, starts: Sequence[int], tile: int, margin: int, rise: int) -> Tensor:
    """Weights (tiles, length) that are 0 in the margin of each tile, rise, and sum to one at every pixel."""
    distance = torch.arange(tile, dtype=torch.float64) + 0.5
    distance = torch.minimum(distance, tile - distance)
    ramp = ((distance - margin) / max(rise, 1)).clamp(0, 1) if margin or rise else torch.ones_like(distance)
    windows = torch.zeros(len(starts), length, dtype=torch.float64)
    for window, start in zip(windows, starts, strict=True):
        window[start : start + tile] = ramp
    # At the ends of the axis there is no neighbour to fade into.
    half = (tile + 1) // 2
    windows[0, :half] = windows[0, :half].clamp(min=1.0)
    windows[-1, length - half :] = windows[-1, length - half :].clamp(min=1.0)
    windows /= windows.sum(dim=0)
    return windows


def _stride(tile: int, overlap: int, align: int) -> int:
    overlap = min(overlap, tile // 2)
    return (tile - overlap) // align * align or tile - overlap


def _evened(length: int, tile: int, overlap: int, align: int) -> int:
    """The smallest tile that covers the axis with as few tiles as `tile` does, so that none covers a mere rest."""
    count = -(-(length - tile) // _stride(tile, overlap, align)) + 1
    for smaller in range(_up(-(-length // count), align), tile, align):
        if 2 * overlap <= smaller and (count - 1) * _stride(smaller, overlap, align) + smaller >= length:
            return smaller
    return tile


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
