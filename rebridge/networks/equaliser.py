"""An equaliser: local power spectra give the gain that each frequency needs.

It undoes a blur as far as a filter can. A blur multiplies the spectrum of an image, and images have much the same spectrum
(power falls as 1/f^2), so the power spectrum of a blurred one shows which frequencies were lost in which direction. A small
convolutional network takes long to find that out, and longer to build from 3x3 filters the wide ones that put them back.
Derived; benchmarks/time_sampling.py has it among its variants.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.exporting import (
    exporting,
    half_overlapping,
    overlap_added,
    signal_of,
    spectrum,
    with_border,
)
from rebridge.networks.features import may_write_over
from rebridge.networks.layers import (
    Network,
    at_least_float32,
    check_inputs,
    in_bands,
    in_float32,
    pad_to_multiple,
    zero_init,
)
from rebridge.networks.lazy import LazyImages

FREQUENCIES = (32, 17)
"""Of the statistics and of the gains: those of windows of 32x32 pixels, of a real signal."""
FILTER_WINDOW = 64
"""Side in pixels of the windows that are filtered, half overlapping."""
NEAR = 10
"""So many windows of statistics to each side are averaged, 16 pixels apart."""
STATISTICS_REACH = 16 * (NEAR // 2 + 1)
"""Pixels to each side that the gains at a place depend on, but for some of the ripples."""
LIMIT = 4.0
"""Bound of a gain's logarithm."""
WINDOWS_AT_ONCE, WINDOWS_ON_GPU = 128, 4096
"""Most windows that are filtered at once, on a processor and on a GPU."""
RIPPLES = 16
"""Of the finer spectra, of windows of 64x64 pixels, the frequencies below 16/64 in both directions are looked at."""


class Equaliser(nn.Module):
    """A filter of y (B, C, H, W) in [-1, 1], chosen by y's own power spectrum.

    The gain of each frequency is real and the same in all colours, so edges stay where they are; phases, which a crooked
    shake turns, are left as they are. A pixel depends on a window of less than 160 pixels to each side. Before training all gains
    are 1.

    Args:
        width: features of the three layers that lead from spectra to gains.
        ripples: look at low frequencies more finely too, where a straight shake and a disc leave rings, and allow gains below
            0: between two rings such a blur turns a wave around. Without it gains are positive.
    """

    def __init__(self, width: int = 128, ripples: bool = False) -> None:
        super().__init__()
        count = FREQUENCIES[0] * FREQUENCIES[1]
        self.enter = nn.Linear(count + 1, width)
        self.inner = nn.Linear(width, width)
        self.leave = zero_init(nn.Linear(width, count))
        self.fine = zero_init(nn.Linear((2 * RIPPLES - 1) * RIPPLES, width)) if ripples else None
        self.turn = zero_init(nn.Linear(width, count)) if ripples else None

    def forward(self, y: Tensor, heard: Tensor | None = None) -> Tensor:
        """Filter y, in float32 whatever autocast computes in; the shape stays.

        Args:
            y: (B, C, H, W).
            heard: `listen` to the whole images at their place, where y are parts of them that begin at multiples of 32.
        """
        height, width = y.shape[-2:]
        half = FILTER_WINDOW // 2
        if exporting():
            padded = pad_to_multiple(at_least_float32(y), half)
            return self._exported(padded, with_border(padded, half))[..., half : half + height, half : half + width]
        padded, extended = _extended(y)
        gains = self.gains(padded, extended) if heard is None else self._gains_of(heard.permute(0, 2, 3, 1))
        return _filtered(extended, gains)[..., half : half + height, half : half + width]

    def listen(self, y: Tensor | LazyImages) -> Tensor:
        """Compute what decides on the gains in all windows of whole images (B, C, H, W).

        Parts of them are then filtered as in the whole.

        Returns:
            (B, width, ceil(H/32) + 1, ceil(W/32) + 1), a row and a column for each window that is filtered.
        """
        half = FILTER_WINDOW // 2
        return in_bands(lambda band: self._heard(*_extended(band)).permute(0, 3, 1, 2), y, STATISTICS_REACH, half, half)

    def _exported(self, padded: Tensor, extended: Tensor) -> Tensor:
        """The filtered image with its border, as an exported graph computes it."""
        line = torch.hann_window(FILTER_WINDOW, dtype=padded.dtype, device=padded.device).sqrt()
        weight = torch.outer(line, line)
        filters = in_float32(_filters, self.gains(padded, extended))[:, None]
        real, imaginary = spectrum(half_overlapping(extended, FILTER_WINDOW) * weight)
        return overlap_added(signal_of(filters * real, filters * imaginary) * weight)

    def gains(self, y: Tensor, extended: Tensor) -> Tensor:
        """Compute one gain for each frequency of each window.

        Args:
            y: (B, C, H, W), sides multiples of 32.
            extended: y with 32 more pixels on each side.

        Returns:
            (B, H/32 + 1, W/32 + 1, 32, 17).
        """
        return self._gains_of(self._heard(y, extended))

    def _heard(self, y: Tensor, extended: Tensor) -> Tensor:
        """Features of the spectra around each window, (B, H/32 + 1, W/32 + 1, width)."""
        levels = _levels(y, FREQUENCIES[0], near=NEAR, stride=2)
        mean = levels.mean(-1, keepdim=True)
        h = self.enter(torch.cat([levels - mean, mean], dim=-1))
        if self.fine is not None:
            rings = _levels(extended, FILTER_WINDOW, near=NEAR // 2, stride=1, low=RIPPLES)
            h = h + self.fine(rings - rings.mean(-1, keepdim=True))
        return F.gelu(self.inner(F.gelu(h)))

    def _gains_of(self, h: Tensor) -> Tensor:
        gains = at_least_float32(self.leave(h)).clamp(-LIMIT, LIMIT).exp()
        if self.turn is not None:
            gains = gains * (1 + at_least_float32(self.turn(h)))
        return gains.unflatten(-1, FREQUENCIES)


class EqualiserAlone(Network):
    """The change that an `Equaliser` makes to y, whatever x and t: a residual.

    Pretrain it alone, then add it to a larger network: it learns in minutes alone, and hardly at all beside a network of a
    hundred times its work that already helps everywhere.

    Args:
        channels: of an image.
        width: as of `Equaliser`.
        ripples: as of `Equaliser`.
    """

    def __init__(self, channels: int = 3, width: int = 128, ripples: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.equaliser = Equaliser(width, ripples)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        check_inputs(x, t, y, self.channels)
        changed: Tensor = self.equaliser(y) - y
        return changed


def power_spectra(y: Tensor, side: int = FREQUENCIES[0], columns: int | None = None) -> Tensor:
    """Compute power spectra of the brightness of y in half overlapping windows.

    Args:
        y: (B, C, H, W).
        side: of a window, in pixels.
        columns: so many of a spectrum, the lowest frequencies across; by default all, side/2 + 1.

    Returns:
        (B, H/(side/2) - 1, W/(side/2) - 1, side, columns).
    """
    line = torch.hann_window(side, dtype=y.dtype, device=y.device)
    weight = torch.outer(line, line)
    if exporting():
        windows = half_overlapping(y.mean(1, keepdim=True), side)[:, 0]
        real, imaginary = spectrum((windows - windows.mean((-1, -2), keepdim=True)) * weight)
        return (real.square() + imaginary.square())[..., :columns]
    rows = y.mean(1).unfold(1, side, side // 2).unfold(2, side, side // 2)
    # some rows of windows at a time: they and their spectra need a dozen times the memory of the images
    return torch.cat([_powers(windows, weight, columns) for windows in rows.split(_rows_at_once(rows), 1)], 1)


def _powers(windows: Tensor, weight: Tensor, columns: int | None) -> Tensor:
    found = spectra_of((windows - windows.mean((-1, -2), keepdim=True)) * weight, columns)
    return found.real.square() + found.imag.square()


def _rows_at_once(windows: Tensor) -> int:
    """How many rows of windows (B, rows, columns, ...) are transformed at once."""
    most = WINDOWS_ON_GPU if windows.device.type == "cuda" else WINDOWS_AT_ONCE
    return max(most // windows.shape[2], 1)


def _extended(y: Tensor) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) extended to multiples of 32 pixels, and these with 32 more on each side."""
    half = FILTER_WINDOW // 2
    padded = pad_to_multiple(at_least_float32(y), half).contiguous()  # windows are transformed along rows
    mode = "reflect" if min(padded.shape[-2:]) > half else "replicate"
    return padded, F.pad(padded, (half,) * 4, mode=mode)


def _levels(y: Tensor, side: int, near: int, stride: int, low: int | None = None) -> Tensor:
    """Logarithms of power spectra, flattened as those of sharp images are, (B, rows, columns, frequencies).

    Each is that of a mean over near x near windows, every stride-th of them. low: only frequencies below low/side.
    """
    spectra = power_spectra((y + 1) / 2, side, low)
    fall = log_fall(spectra)
    if low is not None:
        rows = torch.arange(2 * low - 1, device=spectra.device)  # a list would have to be copied to a GPU first
        rows = torch.where(rows < low, rows, rows + side - 2 * low + 1)
        spectra, fall = spectra[..., rows, :], fall[rows, :low]
    spectra = spectra.flatten(3).permute(0, 3, 1, 2)
    mean = F.avg_pool2d(spectra, near, stride, near // 2, ceil_mode=True, count_include_pad=False)
    return torch.log(mean + 1e-6).permute(0, 2, 3, 1) + fall.flatten()


def log_fall(spectra: Tensor) -> Tensor:
    """Compute log(f^2), (side, side/2 + 1), which flattens sharp images' spectra."""
    side = spectra.shape[-2]
    down = torch.fft.fftfreq(int(side), dtype=spectra.dtype, device=spectra.device)
    across = torch.fft.rfftfreq(int(side), dtype=spectra.dtype, device=spectra.device)
    return torch.log(down[:, None].square() + across.square() + (0.5 / side) ** 2)


def _filtered(extended: Tensor, gains: Tensor) -> Tensor:
    """Filter images (B, C, H, W) in half overlapping windows by gains (B, H/32 - 1, W/32 - 1, 32, 17).

    Some rows of windows at a time, as in `power_spectra`.
    """
    half = FILTER_WINDOW // 2
    line = torch.hann_window(FILTER_WINDOW, dtype=extended.dtype, device=extended.device).sqrt()
    weight = torch.outer(line, line)
    count = gains.shape[1]
    step = _rows_at_once(gains)
    whole, last = torch.empty_like(extended), gains.new_zeros(0)
    for first in range(0, count, step):
        stop = min(first + step, count)
        seen = extended[..., first * half : (stop + 1) * half, :]
        windows = seen.unfold(2, FILTER_WINDOW, half).unfold(3, FILTER_WINDOW, half) * weight
        filters = in_float32(_filters, gains[:, first:stop])[:, None]
        spectra = spectra_of(windows)
        spectra = spectra.mul_(filters) if may_write_over() else spectra * filters
        done = signals_of(spectra) * weight
        # The last row of windows reaches into the rows of pixels that the next strip completes.
        added = overlap_added_in_place(torch.cat([last, done], 2) if first else done)
        top, bottom = first * half, (stop + (stop == count)) * half
        whole[..., top:bottom, :] = added[..., half if first else 0 :, :][..., : bottom - top, :]
        last = done[:, :, -1:]
    return whole


def spectra_of(windows: Tensor, columns: int | None = None) -> Tensor:
    """Compute torch.fft.rfft2(windows), or its first columns.

    Laid out column by column: transforms along columns that are scattered take several times as long.
    """
    return torch.fft.fft(torch.fft.rfft(windows)[..., :columns].mT.contiguous()).mT


def signals_of(spectra: Tensor) -> Tensor:
    """Compute torch.fft.irfft2(spectra), likewise."""
    return torch.fft.irfft(torch.fft.ifft(spectra.mT.contiguous()).mT.contiguous())


def overlap_added_in_place(windows: Tensor) -> Tensor:
    """Add up half overlapping windows (B, C, rows, columns, n, n).

    As F.fold does, and in its order, but without its copies.
    """
    half = windows.shape[-1] // 2
    batch, channels, rows, columns = windows.shape[:4]
    whole = windows.new_zeros(batch, channels, rows + 1, half, columns + 1, half)
    blocks = whole.transpose(3, 4)
    blocks[:, :, :rows, :columns] += windows[..., :half, :half]
    blocks[:, :, :rows, 1:] += windows[..., :half, half:]
    blocks[:, :, 1:, :columns] += windows[..., half:, :half]
    blocks[:, :, 1:, 1:] += windows[..., half:, half:]
    return whole.flatten(4, 5).flatten(2, 3)


def _filters(gains: Tensor) -> Tensor:
    """The spectra (..., 64, 33), laid out column by column, of kernels of 31x31 pixels that have these gains (..., 32, 17).

    Real and even gains have real and even kernels, whose spectra are real: between the frequencies of the gains they are
    interpolated, in both directions alike.
    """
    turned = gains.flip(-2).roll(1, -2)  # of the opposite frequencies
    even = 0.5 * (gains + turned)  # what a real image sees of the first and the last column
    inner = slice(1, FREQUENCIES[1] - 1)
    whole = torch.cat([even[..., :1], gains[..., inner], even[..., -1:], turned[..., inner].flip(-1)], -1)
    finer = _interpolation(gains)
    lower = finer[: FILTER_WINDOW // 2 + 1]
    return (lower @ whole.transpose(-1, -2) @ finer.t()).transpose(-1, -2)


def _interpolation(like: Tensor) -> Tensor:
    """The matrix (64, 32) from the spectrum of 31 pixels at 32 frequencies to that at 64: sums of cosines."""
    side = FREQUENCIES[0]
    fine, coarse = (torch.arange(count, device=like.device) for count in (FILTER_WINDOW, side))
    apart = fine[:, None] - FILTER_WINDOW // side * coarse
    wave = torch.pi / FILTER_WINDOW
    top = torch.sin(wave * ((side - 1) * apart % (2 * FILTER_WINDOW)).to(like))
    return torch.where(apart == 0, side - 1.0, top / torch.sin(wave * apart.to(like))) / side
