"""Parts that the networks share: base class, embedding, norms, padding."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.exporting import exporting, extended_places
from rebridge.networks.lazy import LazyImages


class Network(nn.Module):
    """Base of all networks: forward(x, t, y) -> (B, C, H, W) for any H, W >= 1.

    x is the state and y the degraded image, both (B, C, H, W) in the value range of the bridge; t is (B,) in [0, 1].
    All that the rest of the library needs to know of a network is declared here and nowhere else.
    """

    config: Mapping[str, Any] = MappingProxyType({})
    """Name and parameters with which `create` builds the same network again; empty for one that is not in the catalogue."""
    channels: int = 3
    """Channels of the images."""
    multiple: int = 1
    """Sides of images are extended to multiples of this inside the network."""
    window: int | None = None
    """Largest side of an image that is restored in one piece; larger ones are taken in tiles of that size."""
    context: int = 0
    """Pixels around a tile that are seen with it, so that it comes out as in the whole image."""
    kinds: int = 0
    """Classes of the network's degradation classifier; 0 for none."""
    told: bool = False
    """True if the network can be told what to remove, by `treating`."""
    optional_condition: bool = False
    """True if the network also works without a degraded image, where y is 0."""
    conditions: Mapping[str, Any] = MappingProxyType({})
    """Extra conditions that forward takes by name beside x, t and y, as `rebridge.networks.conditions` reads them."""
    examined: tuple[str, ...] = ()
    """Kinds of degradation that `diagnose` tells about; empty for a network that tells nothing."""

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Compute the raw output, (B, C, H, W)."""
        raise NotImplementedError("a network defines forward(x, t, y)")

    def seeing(self, y: Tensor) -> "Network":
        """Return the network for parts of whole images y (B, C, H, W).

        Tiles of an image are then judged alike; a network that judges nothing of the whole returns itself.
        """
        return self

    def part(self, rows: slice, columns: slice) -> "Network":
        """Return the network for one part of the whole images of `seeing`.

        Args:
            rows, columns: the part, which may reach beyond the images up to the next multiple of `multiple`.
        """
        return self

    def treating(self, kinds: Sequence[str], strength: float = 1.0) -> "Network":
        """Return a network that is told which kinds of degradation to remove.

        Raises:
            ValueError: it cannot be told, or does not know the kinds.
        """
        raise ValueError("this network finds out itself what to remove, and cannot be told")

    def diagnose(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate what ails whole images y (B, C, H, W), in the order of `examined`.

        Returns:
            The probability of each kind and the share of it that is treated, both (B, kinds) in [0, 1].

        Raises:
            ValueError: the network tells nothing of what it finds.
        """
        raise ValueError("this network does not tell what it finds")


class TimeEmbedding(nn.Module):
    """Sinusoids of scale * t, then a two-layer perceptron: (B,) -> (B, features).

    Args:
        features: of the result.
        sinusoids: how many sines and cosines there are.
        scale: turns t in [0, 1] into the index of a training time, so that frequencies 1 ... 1e-4 per index suit it.
        offset: is taken off the index.
        gelu: GELU between the two layers instead of SiLU.
    """

    def __init__(
        self, features: int, sinusoids: int = 32, scale: float = 100.0, offset: float = 0.0, gelu: bool = False
    ) -> None:
        super().__init__()
        self.sinusoids = sinusoids
        self.scale = scale
        self.offset = offset
        self.activation: Callable[[Tensor], Tensor] = F.gelu if gelu else F.silu
        self.first = nn.Linear(sinusoids, features)
        self.second = nn.Linear(features, features)

    def forward(self, t: Tensor) -> Tensor:
        half = self.sinusoids // 2
        exponents = torch.arange(half, device=t.device, dtype=torch.float32) / max(half - 1, 1)
        index = self.scale * t.float() - self.offset
        angles = index[:, None] * torch.exp(-math.log(1e4) * exponents)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).to(self.first.weight.dtype)
        return self.second(self.activation(self.first(waves)))


class ScaleShift(nn.Module):
    """h * (1 + scale) + shift, both affine in the time embedding (FiLM).

    Args:
        embedding: features of time.
        width: features of h (B, C, H, W).
    """

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        self.affine = nn.Linear(embedding, 2 * width)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.affine(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)
        return h * (1 + scale) + shift


class ChannelNorm(nn.Module):
    """Layer normalisation of each pixel over its channels, (B, C, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, h: Tensor) -> Tensor:
        last = h.permute(0, 2, 3, 1)
        return F.layer_norm(last, self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


BLOCK_STRIP = 2**13
"""Places that a gated block computes at once; its features of them fit into a cache of some megabytes."""
NATIVE_CONVOLUTION = 20480
"""Features of so many numbers and less are convolved by torch itself, whatever is asked for."""
LEAST_ROWS = 48
"""Rows of such a strip in wide pictures, as those at its ends are computed twice."""
CONTEXT_SHARE, CONTEXT_GRID = 0.55, 32
"""Share of what a network sees that matters, and the pixels of which a context is a multiple."""
MODULATED_AT_ONCE = 2**14
"""Most places whose scale and shift are interpolated at once."""

Layer = TypeVar("Layer", bound=nn.Conv2d | nn.Linear)


def zero_init(layer: Layer) -> Layer:
    """Set a layer's weights to zero.

    A block that it ends is then the identity before training, so blocks can be added to a trained network.
    """
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


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
        rows = max(BLOCK_STRIP // width, LEAST_ROWS)
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


def may_write_over() -> bool:
    """Test if features that nobody else holds may be written over: no gradient and no graph is made of them."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or exporting())


def apply_blocks(blocks: nn.Sequential, h: Tensor) -> Tensor:
    """Apply blocks to features h (B, C, H, W) that nobody else holds.

    Without gradients gated ones write over h.
    """
    over = may_write_over()
    for block in blocks:
        h = block.change_in_place(h) if isinstance(block, GatedBlock) and over else block(h)
    return h


def modulated(h: Tensor, maps: Tensor) -> Tensor:
    """Compute h * (1 + scale) + shift.

    Args:
        h: features (B, C, H, W) in channels-last order, that nobody else holds: without gradients they are written over.
        maps: scale and shift, (B, 2C, h, w), which are enlarged to the size of h.
    """
    # in the order of h: to add features that lie in another order takes ten times as long
    maps = maps.contiguous(memory_format=torch.channels_last)
    height, width = h.shape[-2:]
    factor, rest = divmod(height, maps.shape[-2])
    if maps.shape[-2:] == (1, 1):
        scale, shift = maps.chunk(2, dim=1)
        return h.addcmul_(h, scale).add_(shift) if may_write_over() else torch.addcmul(h + shift, h, scale)
    if rest or not may_write_over():
        scale, shift = F.interpolate(maps, size=(height, width), mode="bilinear").chunk(2, dim=1)
        return torch.addcmul(h + shift, h, scale)
    step = max(MODULATED_AT_ONCE // (width * factor), 1)
    for first in range(0, maps.shape[-2], step):
        stop, above = min(first + step, maps.shape[-2]), min(first, 1)
        seen = maps[..., first - above : stop + 1, :]
        fine = F.interpolate(seen, size=(seen.shape[-2] * factor, width), mode="bilinear")
        scale, shift = fine[..., above * factor : (above + stop - first) * factor, :].chunk(2, dim=1)
        part = h[..., first * factor : stop * factor, :]
        part.addcmul_(part, scale).add_(shift)
    return h


def unshuffled(images: Sequence[Tensor]) -> Tensor:
    """Join images (B, c, H, W) with even sides, and put 2x2 pixels into one: (B, 4C, H/2, W/2), channels-last."""
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
    rows, is_sum = max(BLOCK_STRIP // width, LEAST_ROWS), h is not None
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
    """A 1x1 convolution."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__(width, wider, 1)

    def forward(self, h: Tensor) -> Tensor:
        """(B, width, H, W) to (B, wider, H, W)."""
        return pointwise(h, self.weight, self.bias)


def shuffled(layer: nn.Conv2d, h: Tensor) -> Tensor:
    """Compute F.pixel_shuffle(layer(h), 2) for a layer (B, C, H, W) -> (B, 4D, H, W) with padding.

    Returns:
        (B, D, 2H, 2W) in channels-last order.
    """
    if not may_write_over():
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
    if not may_write_over() or not fine.is_contiguous(memory_format=torch.channels_last):
        return F.pixel_shuffle(layer(h), 2) + fine
    rows = max(BLOCK_STRIP // h.shape[-1], 1)
    for top in range(0, h.shape[-2], rows):
        pairs = _pairs(layer, h[..., top : top + rows, :])
        part = fine[..., 2 * top : 2 * (top + rows), :].permute(0, 2, 3, 1)
        part.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).flatten(4).add_(pairs)
    return fine


def _pairs(layer: nn.Conv2d, h: Tensor) -> Tensor:
    """What `F.pixel_shuffle` makes of layer(h), as (B, H, 2, W, 2 D).

    The weights are put in order instead of the features, of which two pixels then lie side by side.
    """
    weight = layer.weight.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)
    bias = None if layer.bias is None else layer.bias.unflatten(0, (-1, 4)).t().flatten()
    is_point = weight.shape[-2:] == (1, 1)
    found = pointwise(h, weight, bias) if is_point else F.conv2d(h, weight, bias, padding=layer.padding)
    return found.permute(0, 2, 3, 1).unflatten(3, (2, -1)).transpose(2, 3)


def check_inputs(x: Tensor, t: Tensor, y: Tensor, channels: int) -> None:
    """Raise ValueError unless x, y are alike (B, channels, H, W) and t is (B,)."""
    if x.ndim != 4 or x.shape[1] != channels or 0 in x.shape:
        raise ValueError(f"x must be (B, {channels}, H, W) with at least one pixel, got {tuple(x.shape)}")
    if y.shape != x.shape:
        raise ValueError(f"x and y must have the same shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    if t.shape != x.shape[:1]:
        raise ValueError(f"t must be ({x.shape[0]},), one time per image, got {tuple(t.shape)}")


def check_sizes(**sizes: int | Sequence[int]) -> None:
    """Raise ValueError naming the first size that is no positive integer.

    A size may also be a sequence of positive integers.
    """
    for name, size in sizes.items():
        several = isinstance(size, (list, tuple))
        values = list(size) if isinstance(size, (list, tuple)) else [size]
        if not values or any(not isinstance(value, int) or value < 1 for value in values):
            raise ValueError(f"{name} must be {'positive integers' if several else 'a positive integer'}, got {size}")


def context_of(blocks: Sequence[int], middle: int) -> int:
    """Compute the pixels around a part of an image that a U-Net must see with it.

    So that no pixel of the part changes by half a level, they are a share of all that it sees, measured with trained ones.

    Args:
        blocks: with 3x3 convolutions, before and again after the middle, at 1/2, 1/4, 1/8, ... of the size.
        middle: blocks with 7x7 convolutions at the level below.
    """
    reach = 2 * (2 + sum(count << level for level, count in enumerate(blocks, 1))) + (3 * middle << len(blocks) + 1)
    return -(-round(CONTEXT_SHARE * reach) // CONTEXT_GRID) * CONTEXT_GRID


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) at the right and at the bottom to the next multiple.

    By reflection where the side is long enough for it, and else by repeating the last pixel.
    """
    for axis in (3, 2):
        side = image.shape[axis]
        if exporting():
            image = image.index_select(axis, extended_places(side, multiple, image.device))
            continue
        missing = -side % multiple
        if missing:
            pad = (0, missing, 0, 0) if axis == 3 else (0, 0, 0, missing)
            image = F.pad(image, pad, mode="reflect" if missing < side else "replicate")
    return image


def in_bands(
    compute: Callable[[Tensor], Tensor],
    y: Tensor | LazyImages,
    reach: int,
    step: int,
    scale: int = 1,
    pixels: int = 2**20,
) -> Tensor:
    """Compute something of large images y (B, C, H, W) in bands, which bounds memory.

    Args:
        compute: (B, C, h, W) -> (B, c, ceil(h / scale), w), depends on what lies within `reach` rows. It may give more rows,
            which are those below the images.
        y: images.
        reach: a multiple of `step`.
        step: bands begin at multiples of this, itself a multiple of `scale`.
        scale: rows of y for each row of the result.
        pixels: of a band, without its reach.
    """
    height, width = y.shape[-2:]
    rows = max(pixels // width // step, 1) * step
    if rows >= height:
        return compute(y[..., :, :])
    bands = []
    for top in range(0, height, rows):
        above = min(reach, top)
        band = compute(y[..., top - above : min(top + rows + reach, height), :])
        bands.append(band[..., above // scale : (above + rows) // scale if top + rows < height else None, :])
    return torch.cat(bands, -2)


def replicate_border(h: Tensor, size: int) -> Tensor:
    """Repeat the outermost pixels of h (B, C, H, W) `size` times on each side.

    As F.pad in mode "replicate", whose compiled gradient fails for channels-last tensors (torch 2.13).
    """
    for dim in (2, 3):
        first, last = h.narrow(dim, 0, 1), h.narrow(dim, h.shape[dim] - 1, 1)
        h = torch.cat([first] * size + [h] + [last] * size, dim)
    return h


def in_float32(layer: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
    """Apply a layer in its own precision, whatever autocast computes in.

    For the first and the last layer of a network: what they give is the finest that there is, and takes little time.
    """
    kind = h.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return layer(h)
    with torch.autocast(kind, enabled=False):
        return layer(at_least_float32(h))


def at_least_float32(values: Tensor) -> Tensor:
    """Convert values to float32 where autocast may have left less."""
    return values if values.dtype == torch.float64 else values.float()
