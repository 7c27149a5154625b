"""Features of U-Nets between their layers: how they lie, and how many at once.

Without gradients they are written over and computed in strips of rows, which stay in the processor's cache and need no memory of
the size of a picture. The values are the same.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.exporting import exporting
from rebridge.networks.layers import ChannelNorm, in_float32, zero_init

BLOCK_STRIP = 2**14
"""Places that a gated block computes at once; its features of them fit into a cache of some ten megabytes."""
NATIVE_CONVOLUTION = 20480
"""Features of so many numbers and less are convolved by torch itself, whatever is asked for."""
LEAST_ROWS = 64
"""Rows of such a strip in wide pictures, as those at its ends are computed twice."""
MODULATED_AT_ONCE = 2**14
"""Most places whose scale and shift are interpolated at once."""
GPU_AT_ONCE = 2**20
"""Places of all pictures together that a GPU computes at once: it has no such cache, and stands idle where there are few."""


class GatedBlock(nn.Module):
    """h + 1x1(u * v), with (u, v) a dense 3x3 convolution of norm(h).

    NAFNet's gate (arXiv 2204.04676).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.enter = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.leave = zero_init(Pointwise(width, width))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.change(h)

    def change(self, h: Tensor, above: int = 0, below: int = 0) -> Tensor:
        """Compute what is added to h (B, C, H, W).

        Args:
            h: features.
            above, below: rows at either end that are seen, but not changed.
        """
        seen = self.enter(self.norm(h))
        u, v = seen[..., above : seen.shape[-2] - below, :].chunk(2, dim=1)
        return self.leave(u * v)

    def change_in_place(self, h: Tensor) -> Tensor:
        """Compute the block in strips of rows and write the result over h; returns h.

        The values are the same. What lies between stays in the processor's cache, and needs no memory of the size of h.
        """
        height, width = h.shape[-2:]
        rows = max(places_at_once(h, BLOCK_STRIP) // width, LEAST_ROWS)
        last: Tensor | None = None  # of a strip: its row is added once the next strip has seen it as it was
        for top in range(0, height, rows):
            bottom, above = min(top + rows, height), min(top, 1)
            below = min(height - bottom, 1)
            change = self.change(h[..., top - above : bottom + below, :], above, below)
            if last is not None:
                h[..., top - 1 : top, :] += last
            last = change[..., -1:, :]
            h[..., top : bottom - 1, :] += change[..., :-1, :]
        if last is not None:
            h[..., -1:, :] += last
        return h


def places_at_once(h: Tensor, places: int) -> int:
    """Choose how many places of each picture h (B, ...) are computed at once.

    Args:
        h: what is computed from, on the device where that is done.
        places: as many as suit a processor.
    """
    return max(GPU_AT_ONCE // len(h), places) if h.device.type == "cuda" else places


def may_write_over() -> bool:
    """Test if no gradient and no graph is made, so that features may be written over."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or exporting())


def apply_blocks(blocks: nn.Sequential, h: Tensor) -> Tensor:
    """Apply blocks to features h (B, C, H, W) that nobody else holds.

    Without gradients gated ones write over h, unless they are compiled.
    """
    over = may_write_over()
    for block in blocks:
        in_place = isinstance(block, GatedBlock) and over and block._compiled_call_impl is None
        h = block.change_in_place(h) if in_place else block(h)  # type: ignore[operator]
    return h


def modulated(h: Tensor, maps: Tensor) -> Tensor:
    """Compute h * (1 + scale) + shift.

    Args:
        h: features (B, C, H, W) in channels-last order, that nobody else holds: without gradients they are written over.
        maps: scale and shift, (B, 2C), or (B, 2C, h, w) where they are enlarged to the size of h.
    """
    over = may_write_over()
    if maps.ndim == 2:
        scale, shift = maps[:, :, None, None].chunk(2, dim=1)
        return h.addcmul_(h, scale).add_(shift) if over else torch.addcmul(h + shift, h, scale)
    # in the order of h: to add features that lie in another order takes ten times as long
    maps = maps.contiguous(memory_format=torch.channels_last)
    if not over or h.shape[-2] % maps.shape[-2]:
        scale, shift = F.interpolate(maps, size=h.shape[-2:], mode="bilinear").chunk(2, dim=1)
        return torch.addcmul(h + shift, h, scale)
    width, factor = h.shape[-1], h.shape[-2] // maps.shape[-2]
    step = max(places_at_once(h, MODULATED_AT_ONCE) // (width * factor), 1)
    for first in range(0, maps.shape[-2], step):
        stop, above = min(first + step, maps.shape[-2]), min(first, 1)
        seen = maps[..., first - above : stop + 1, :]
        fine = F.interpolate(seen, size=(seen.shape[-2] * factor, width), mode="bilinear")
        scale, shift = fine[..., above * factor : (above + stop - first) * factor, :].chunk(2, dim=1)
        part = h[..., first * factor : stop * factor, :]
        part.addcmul_(part, scale).add_(shift)
    return h


def unshuffled(images: Sequence[Tensor]) -> Tensor:
    """Join images (B, c, H, W) and put 2x2 pixels into one, (B, 4C, H/2, W/2)."""
    joint = images[0] if len(images) == 1 else torch.cat(list(images), dim=1)
    return F.pixel_unshuffle(joint, 2).contiguous(memory_format=torch.channels_last)


def entered(layer: nn.Conv2d, images: Sequence[Tensor], h: Tensor | None = None) -> Tensor:
    """Compute a 3x3 convolution of `unshuffled(images)`.

    Without gradients in strips of rows, as what lies between needs more memory than the result.

    Args:
        layer: is applied to float32.
        images: (B, c, H, W) with even sides.
        h: features (B, D, H/2, W/2) that the result is added to, and that nobody else holds.
    """
    if not may_write_over():
        found = in_float32(layer, unshuffled(images))
        return found if h is None else h + found
    height, width = (side // 2 for side in images[0].shape[-2:])
    rows, is_sum = max(places_at_once(images[0], BLOCK_STRIP) // width, LEAST_ROWS), h is not None
    for top in range(0, height, rows):
        bottom, above = min(top + rows, height), min(top, 1)
        below = min(height - bottom, 1)
        seen = unshuffled([image[..., 2 * (top - above) : 2 * (bottom + below), :] for image in images])
        found = in_float32(layer, seen)[..., above : above + bottom - top, :]
        if h is None:
            size = len(found), found.shape[1], height, width
            h = torch.empty(size, dtype=found.dtype, device=found.device, memory_format=torch.channels_last)
        part = h[..., top:bottom, :]
        part.add_(found) if is_sum else part.copy_(found)
    assert h is not None  # an image has rows
    return h


def pointwise(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute a 1x1 convolution of h (B, C, H, W).

    On one thread torch has two ways to do so. It takes the faster one, of oneDNN, where a dilation is asked for, which is without
    meaning for a kernel of one place.
    """
    slow = may_write_over() and h.device.type == "cpu" and h.numel() > NATIVE_CONVOLUTION
    return F.conv2d(h, weight, bias, dilation=2 if slow else 1)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution.

    width, wider: channels. more: as `torch.nn.Conv2d` has them, by which adapters make layers of the same kind.
    """

    def __init__(
        self, width: int, wider: int, kernel_size: int | tuple[int, int] = 1, *more: Any, **options: Any
    ) -> None:
        super().__init__(width, wider, kernel_size, *more, **options)
        if self.kernel_size != (1, 1):
            raise ValueError(f"kernel_size must be 1, got {self.kernel_size}")

    def forward(self, h: Tensor) -> Tensor:
        """(B, width, H, W) to (B, wider, H, W)."""
        return pointwise(h, self.weight, self.bias)


def shuffled(layer: nn.Conv2d, h: Tensor) -> Tensor:
    """Compute F.pixel_shuffle(layer(h), 2), for a layer that keeps the size.

    Returns:
        (B, D, 2H, 2W) in channels-last order.
    """
    if not may_write_over() or not is_plain(layer):
        return F.pixel_shuffle(layer(h), 2)
    found = _pairs(layer, h).flatten(3).flatten(1, 2)
    return found.view(*found.shape[:2], -1, layer.out_channels // 4).permute(0, 3, 1, 2)


def joined(fine: Tensor, layer: nn.Conv2d, h: Tensor) -> Tensor:
    """Compute fine + F.pixel_shuffle(layer(h), 2).

    Args:
        fine: features (B, D, 2H, 2W) that nobody else holds: without gradients they are written over.
        layer: (B, C, H, W) -> (B, 4D, H, W).
        h: features (B, C, H, W).
    """
    if not (may_write_over() and is_plain(layer) and fine.is_contiguous(memory_format=torch.channels_last)):
        return F.pixel_shuffle(layer(h), 2) + fine
    rows = max(places_at_once(h, BLOCK_STRIP) // h.shape[-1], 1)
    for top in range(0, h.shape[-2], rows):
        pairs = _pairs(layer, h[..., top : top + rows, :])
        part = fine[..., 2 * top : 2 * (top + rows), :].permute(0, 2, 3, 1)
        part.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).flatten(4).add_(pairs)
    return fine


def is_plain(layer: nn.Module) -> bool:
    """Test if a layer is a convolution and nothing else.

    One that an adapter has wrapped is not.
    """
    return type(layer) in (nn.Conv2d, Pointwise)


def _pairs(layer: nn.Conv2d, h: Tensor) -> Tensor:
    """What `F.pixel_shuffle` makes of layer(h), as (B, H, 2, W, 2 D).

    The weights are put in order instead of the features, of which two pixels then lie side by side.
    """
    weight = layer.weight.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)
    bias = None if layer.bias is None else layer.bias.unflatten(0, (-1, 4)).t().flatten()
    is_point = weight.shape[-2:] == (1, 1)
    found = pointwise(h, weight, bias) if is_point else F.conv2d(h, weight, bias, padding=layer.padding)
    return found.permute(0, 2, 3, 1).unflatten(3, (2, -1)).transpose(2, 3)
