"""Operations of networks in the form that an exported graph takes.

ONNX has no complex numbers, and a graph that takes images of any size cannot branch on their sides. While a graph is traced
(`exporting`), networks use these in place of torch's own; each computes the same up to rounding, from products with constant
matrices and places that are computed from the sides.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def exporting() -> bool:
    """Test if a graph is being traced for an export."""
    # asked only while something is traced: importing torch.onnx takes as long as restoring a small picture
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined]
    return torch.compiler.is_exporting() or (traced and torch.onnx.is_in_onnx_export())


def valueless(values: Tensor) -> bool:
    """Test if a tensor has a shape alone.

    So it is where operations are counted (`counting.cost`), of which none is left out.
    """
    return values.is_meta


def extended_places(side: int, multiple: int, device: torch.device) -> Tensor:
    """Compute the places along an axis that `layers.pad_to_multiple` puts there.

    Args:
        side: of the image.
        multiple: of the extended side.
        device: of the result.
    """
    places = torch.arange((side + multiple - 1) // multiple * multiple, device=device)
    mirrored = 2 * (side - 1) - places
    beyond = torch.where(mirrored[-1:] >= 0, mirrored, torch.zeros_like(places) + side - 1)
    return torch.where(places < side, places, beyond)


def with_border(image: Tensor, border: int) -> Tensor:
    """Extend (B, C, H, W) on all sides, mirrored, or repeated where a side is short.

    Args:
        image: (B, C, H, W).
        border: pixels on each side.
    """
    mirror = torch.minimum(_last(image, 2), _last(image, 3)) >= border
    for axis in (2, 3):
        last = _last(image, axis)
        places = torch.arange(image.shape[axis] + 2 * border, device=image.device) - border
        inner = last - (last - places.abs()).abs()
        clamped = torch.minimum(places.clamp(min=0), last)
        image = image.index_select(axis, torch.where(mirror, inner, clamped))
    return image


def repeated_to(image: Tensor, least: int) -> Tensor:
    """Repeat the last pixels of (B, C, H, W) up to a least side."""
    for axis in (2, 3):
        last = _last(image, axis)
        places = torch.arange(least + image.shape[axis], device=image.device)
        kept = places.masked_select(places <= last.clamp(min=least - 1))
        image = image.index_select(axis, torch.minimum(kept, last))
    return image


def half_overlapping(image: Tensor, side: int) -> Tensor:
    """Cut windows that overlap by half.

    Args:
        image: (B, C, H, W), sides multiples of side / 2.
        side: of a window.

    Returns:
        (B, C, rows, columns, side, side).
    """
    half = side // 2
    batch, channels, height, width = image.shape
    blocks = image.reshape(batch, channels, height // half, half, width // half, half)
    rows = torch.cat([blocks[:, :, :-1], blocks[:, :, 1:]], 3)
    return torch.cat([rows[..., :-1, :], rows[..., 1:, :]], 5).permute(0, 1, 2, 4, 3, 5)


def overlap_added(windows: Tensor) -> Tensor:
    """Add up half overlapping windows; the opposite of `half_overlapping`."""
    half = windows.shape[-1] // 2
    rows = windows.permute(0, 1, 2, 4, 3, 5)
    for axis, inner in ((4, 5), (2, 3)):
        first, second = rows.narrow(inner, 0, half), rows.narrow(inner, half, half)
        blank = torch.zeros_like(first.narrow(axis, 0, 1))
        rows = torch.cat([first, blank], axis) + torch.cat([blank, second], axis)
    batch, channels, down, _, across, _ = rows.shape
    return rows.reshape(batch, channels, down * half, across * half)


def spectrum(signal: Tensor) -> tuple[Tensor, Tensor]:
    """Compute real and imaginary part of `torch.fft.rfft2` of (..., n, n)."""
    side = signal.shape[-1]
    cosine, sine = _waves(side, side, signal)
    real, imaginary = cosine @ signal, -(sine @ signal)
    cosine, sine = cosine[:, : side // 2 + 1], sine[:, : side // 2 + 1]
    return real @ cosine + imaginary @ sine, imaginary @ cosine - real @ sine


def signal_of(real: Tensor, imaginary: Tensor) -> Tensor:
    """Compute `torch.fft.irfft2` of (..., n, n/2 + 1), given in two parts."""
    side = real.shape[-2]
    cosine, sine = _waves(side, side, real)
    down, turned = cosine @ real - sine @ imaginary, sine @ real + cosine @ imaginary
    counts = torch.full((side // 2 + 1, 1), 2.0, device=real.device)
    counts[0], counts[-1] = 1.0, 1.0
    half = side // 2 + 1
    return (down @ (counts * cosine[:half]) - turned @ (counts * sine[:half])) / side**2


def cell_means(h: Tensor, rows: int, columns: int) -> Tensor:
    """Compute `adaptive_avg_pool2d` of (B, C, H, W) to (B, C, rows, columns)."""
    return _shares(h.shape[-2], rows, h) @ h @ _shares(h.shape[-1], columns, h).transpose(0, 1)


def cell_maxima(h: Tensor, rows: int, columns: int) -> Tensor:
    """Compute `adaptive_max_pool2d` of (B, C, H, W) to (B, C, rows, columns)."""
    for axis, cells in ((2, rows), (3, columns)):
        inside = _inside(h.shape[axis], cells, h.device)
        shaped = inside[:, :, None] if axis == 2 else inside[:, None]
        h = torch.cat([h.masked_fill(~cell, -torch.inf).amax(axis, keepdim=True) for cell in shaped], axis)
    return h


def quantiles(values: Tensor, shares: Tensor) -> Tensor:
    """Compute `torch.quantile` over the last axis, (len(shares), ...)."""
    ordered = values.sort(-1).values
    places = shares * _last(values, values.ndim - 1).to(values.dtype)
    below = places.floor()
    low, high = ordered.index_select(-1, below.long()), ordered.index_select(-1, places.ceil().long())
    last = values.ndim - 1
    return (low + (places - below) * (high - low)).permute(last, *range(last))


def lower_median(values: Tensor) -> Tensor:
    """Compute `torch.median` over the last axis: the lower of the two in the middle."""
    middle = _last(values, values.ndim - 1) // 2
    return values.sort(-1).values.index_select(-1, middle).squeeze(-1)


def _last(values: Tensor, axis: int) -> Tensor:
    """The last place along an axis, (1,)."""
    return torch.arange(values.shape[axis], device=values.device)[-1:]


def _waves(side: int, frequencies: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (side, frequencies), exact to float32."""
    places = torch.arange(side, dtype=torch.float64)[:, None] * torch.arange(frequencies, dtype=torch.float64)
    angles = 2 * math.pi / side * (places % side)
    return angles.cos().to(like), angles.sin().to(like)


def _inside(side: int, cells: int, device: torch.device) -> Tensor:
    """Which places belong to each cell, (cells, side)."""
    places = torch.arange(side, device=device)
    cell = torch.arange(cells, device=device)[:, None]
    first, last = cell * side // cells, ((cell + 1) * side + cells - 1) // cells
    return (places >= first) & (places < last)


def _shares(side: int, cells: int, like: Tensor) -> Tensor:
    """Weights (cells, side) of the places that each cell is the mean of."""
    inside = _inside(side, cells, like.device).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)
