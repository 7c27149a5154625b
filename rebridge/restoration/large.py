"""Large pictures, one evaluation of the network tile by tile.

A walk of one step without fresh noise changes each pixel by what the network says there. So every tile goes the whole way, into
the model's space, along the bridge and back, and nothing of the picture's size is held but what comes in and what goes out. The
statistics that networks take of a picture are those of the whole. Walks of several steps keep their full-size state instead, so
that tiles meet again at each step (`rebridge.denoisers.tiling`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser, TiledDenoiser
from rebridge.denoisers.tiling import within
from rebridge.images import Image, as_floats, to_bytes
from rebridge.images.atomic import out_of_memory
from rebridge.images.memory import give_back
from rebridge.inverse.measurement import Measurement
from rebridge.irbridge.finish import Finish
from rebridge.models import Model
from rebridge.networks.lazy import LazyImages
from rebridge.restoration import engine
from rebridge.restoration.choices import Asked, seeds_of
from rebridge.samplers import ImageNoise, Sampler


class Journey(Protocol):
    """The parts of a `Restorer` that one tile passes through."""

    model: Model
    bridge: Bridge
    finish: Finish


def goes_by_tile(
    journey: Journey, walk: Sampler, size: tuple[int, int], asked: Asked, measured: Measurement | None = None
) -> bool:
    """Test if every tile can go the whole way by itself.

    Args:
        journey: model, bridge and finish.
        walk: the sampler.
        size: height and width of the picture.
        asked: the settings of the call.
        measured: what was measured, which estimates must agree with.
    """
    model = journey.model
    side, _ = asked.tiles.chosen(*size, model.info.window)
    is_tiled = side is not None and max(size) > side and model.info.context > 0 and model.info.window is None
    is_local = model.space.scale == 1 and model.predictor is None and journey.finish == Finish() and measured is None
    is_one_call = walk.steps == 1 and walk.calls_per_step == 1 and asked.samples == 1 and asked.callback is None
    plain = journey.bridge == model.process and not walk.walks_prior and not asked.conditions
    return is_tiled and is_local and is_one_call and plain and not engine.draws_noise(model, model.process, walk)


def restored_by_tile(
    journey: Journey, walk: Sampler, images: Tensor | LazyImages, asked: Asked, wrap: engine.Wrap
) -> Tensor:
    """Restore images (B, C, H, W) in [0, 1] where `goes_by_tile` allows it.

    Returns a new tensor; bytes for lazy images.
    """
    give_back()  # what reading a large picture and looking at it has left
    size = images.shape[-2], images.shape[-1]
    layout = engine.tiled(journey.model, as_condition(journey.model, images), size, asked.tiles, wrap)
    is_lazy = isinstance(images, LazyImages)
    result = torch.zeros(images.shape, dtype=torch.uint8 if is_lazy else torch.float32)
    while True:
        try:
            whole = None if is_lazy else result
            for top, rows in restored_rows(journey.model, walk, images, layout, asked.strength, into=whole):
                if is_lazy:
                    result[..., top : top + rows.shape[-2], :] = to_bytes(rows)
            break
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not out_of_memory(error) or not layout.shrink(max(size)):
                raise
        result.zero_()
        # Outside the handler: the traceback would keep the tensors of the failed call alive.
        if journey.model.device.type == "cuda":
            torch.cuda.empty_cache()
    if asked.progress is not None:
        asked.progress(1, 1)
    return result if isinstance(images, LazyImages) else result.to(images)


def restored_bytes(journey: Journey, walk: Sampler, image: Image, asked: Asked, wrap: engine.Wrap) -> Image | None:
    """Restore an image whose pixels are bytes, and never all of them floats.

    None where they are no bytes, or `goes_by_tile` does not allow it.
    """
    pixels = image.pixels
    if pixels.dtype != torch.uint8 or not goes_by_tile(journey, walk, (pixels.shape[1], pixels.shape[2]), asked):
        return None
    seeds_of(asked.seed, 1)  # no noise is drawn, but an impossible seed is refused as elsewhere
    shape = (1, pixels.shape[0], pixels.shape[1], pixels.shape[2])
    images = LazyImages(shape, lambda rows, columns: as_floats(pixels[None, :, rows, columns]))
    return image.with_pixels(restored_by_tile(journey, walk, images, asked, wrap)[0])


def as_condition(model: Model, images: Tensor | LazyImages) -> Tensor:
    """Make images (B, C, H, W) in [0, 1] what a model is given.

    They get as many channels as it takes, and go to its device.
    """
    channels = model.info.channels
    if not isinstance(images, LazyImages):
        return engine.coloured(images, channels).to(model.device)
    batch, _, height, width = images.shape
    coloured = images.mapped(lambda part: engine.coloured(part, channels).to(model.device))
    return LazyImages((batch, channels, height, width), coloured.read).cut_alike()


@torch.no_grad()
def restored_rows(
    model: Model,
    walk: Sampler,
    images: Tensor | LazyImages,
    layout: TiledDenoiser,
    strength: float,
    into: Tensor | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Blend the tiles of one row of them after the other.

    Args:
        model: what restores.
        walk: a sampler that takes one step, without noise.
        images: (B, C, H, W) in [0, 1].
        layout: the tiles and their denoisers, as `engine.tiled` makes them.
        strength: share of the change that is made.
        into: the whole result, float32, as large as the images and 0, where there is room for it; its rows are handed out.

    Yields:
        The number of the first row, and finished rows (B, C, h, W) in [0, 1], from the top of the picture to its end.
    """
    batch, channels, height, width = images.shape
    downwards, across = layout.places(height, width, torch.zeros(()))
    kept: Tensor | None = None
    for index, (rows, row_weights) in enumerate(downwards):
        band = torch.zeros(batch, channels, rows.stop - rows.start, width) if into is None else into[..., rows, :]
        if kept is not None:
            band[..., : kept.shape[-2], :] = kept
        for columns, column_weights in across:
            restored = _restored_tile(model, walk, images, layout, (rows, columns), strength)
            band[..., columns].addcmul_(restored.to(band), row_weights[:, None] * column_weights)
        following = downwards[index + 1][0].start if index + 1 < len(downwards) else height
        done = following - rows.start
        kept = band[..., done:, :].clone() if into is None else None
        yield rows.start, band[..., :done, :]


def _restored_tile(
    model: Model,
    walk: Sampler,
    images: Tensor | LazyImages,
    layout: TiledDenoiser,
    place: tuple[slice, slice],
    strength: float,
) -> Tensor:
    """Take a tile with its context the whole way, and return the tile alone."""
    around = (layout.around(place[0]), layout.around(place[1]))
    seen = images[..., around[0], around[1]]
    denoiser: Denoiser = layout.denoiser if layout.of_tile is None else layout.of_tile(*around)
    states = engine.walk_bridge(
        model, model.process, walk, denoiser, engine.enter(model, seen), ImageNoise([0] * len(seen)), None
    )
    restored = engine.leave(model, states, seen, strength=strength)
    return restored[..., within(place[0], around[0]), within(place[1], around[1])]
