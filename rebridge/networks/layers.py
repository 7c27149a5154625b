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
            rows, columns: the part, with `context` pixels around what is kept of it where the images go on; it may reach beyond
                them up to the next multiple of `multiple`.
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


CONTEXT_SHARE, CONTEXT_GRID = 0.55, 32
"""Share of what a network sees that matters, and the pixels of which a context is a multiple."""

Layer = TypeVar("Layer", bound=nn.Conv2d | nn.Linear)


def zero_init(layer: Layer) -> Layer:
    """Set a layer's weights to zero.

    A block that it ends is then the identity before training, so blocks can be added to a trained network.
    """
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def check_inputs(x: Tensor, t: Tensor, y: Tensor, channels: int) -> None:
    """Raise ValueError unless x, y are alike (B, channels, H, W) and t is (B,)."""
    if x.ndim != 4 or x.shape[1] != channels or 0 in x.shape:
        raise ValueError(f"x must be (B, {channels}, H, W) with at least one pixel, got {tuple(x.shape)}")
    if y.shape != x.shape:
        raise ValueError(f"x and y must have the same shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    if t.shape != x.shape[:1]:
        raise ValueError(f"t must be ({x.shape[0]},), one time per image, got {tuple(t.shape)}")


def check_sizes(**sizes: int) -> None:
    """Raise ValueError naming the first size that is no positive integer."""
    for name, size in sizes.items():
        if not _is_size(size):
            raise ValueError(f"{name} must be a positive integer, got {size}")


def check_levels(**sizes: Sequence[int]) -> None:
    """Raise ValueError naming the first that is no list of positive integers.

    Each has one for each level of a network.
    """
    for name, levels in sizes.items():
        if not (isinstance(levels, (list, tuple)) and levels and all(map(_is_size, levels))):
            raise ValueError(f"{name} must be a list of positive integers, got {levels}")


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


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

    def band(top: int) -> Tensor:
        above = min(reach, top)
        found = compute(y[..., top - above : min(top + rows + reach, height), :])
        return found[..., above // scale : (above + rows) // scale if top + rows < height else None, :]

    *others, lowest = range(0, height, rows)
    last = band(lowest)  # says how many rows there are: the result is written once, where it belongs
    size = (*last.shape[:2], lowest // scale + last.shape[-2], last.shape[-1])
    lies = torch.channels_last if last.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    result = torch.empty(size, dtype=last.dtype, device=last.device, memory_format=lies)
    result[..., lowest // scale :, :] = last
    for top in others:
        result[..., top // scale : (top + rows) // scale, :] = band(top)
    return result


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
