"""Impressions of pictures: by them whole pictures and their parts are judged.

Derived.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rebridge.networks.averages import block_means
from rebridge.networks.exporting import exporting, quantiles

SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Quantiles of the brightness of a picture that its tone is judged by."""
MOST_LEVELS = 2**21
"""Most places of a picture that its quantiles are taken from."""
PLACE = 16
"""Side in pixels of the places that the examiner and the trust distinguish."""


class Impression(NamedTuple):
    """Features and levels of a picture as a whole."""

    features: Tensor
    """(B, 3 * features): mean, deviation and greatest value over the picture."""
    levels: Tensor
    """(B, 4, shares): quantiles of the three colours and of the darkest of them, in [0, 1]."""
    measured: Tensor | None = None
    """(B, NUMBERS): `rebridge.networks.statistics`, where they are asked for."""
    air: Tensor | None = None
    """(B, MAP_NUMBERS, MAP_SIDE, MAP_SIDE): `statistics.air_map`, where a verdict sees it."""
    judged: Tensor | None = None
    """(B, kinds): logits of the kinds, after trials where those are made."""
    treated: Tensor | None = None
    """(B, kinds): what a trial has treated pictures for as a whole; 0 where nothing of it is of use."""
    change: Tensor | None = None
    """(B, 3, H, W): what became of these."""
    raised: Tensor | None = None
    """(B,) in [0, 1]: how much noise shows when the picture is bright, where parts of it are to be treated."""
    places: Tensor | None = None
    """(B, features, H/16, W/16): the examiner's features, where whole pictures were looked at."""
    depths: Tensor | None = None
    """(B, 3): least, greatest and mean optical depth, where parts of the picture are to be toned."""
    clear: "Impression | None" = None
    """Of the same pictures without their noise, where parts of them are to be toned after that."""
    spare: tuple[int, int, int, int] | None = None
    """Of a part of the pictures: pixels at its left, right, top and bottom that only its tone need see."""

    @classmethod
    def blank(cls, y: Tensor) -> "Impression":
        """Make the impression of pictures (B, ...) that were not looked at."""
        return cls(y.new_zeros(len(y), 0), y.new_zeros(len(y), 0))

    @property
    def is_blank(self) -> bool:
        """Tell whether the pictures were not looked at."""
        return self.features.shape[1] == 0

    def of(self, rows: Tensor | slice) -> "Impression":
        """Return the impression of some of the pictures, which `rows` (B,) chooses."""

        def chosen(values: "Tensor | Impression | tuple[int, ...] | None") -> object:
            match values:
                case Tensor():
                    return values[rows]
                case Impression():
                    return values.of(rows)
            return values

        return Impression._make(map(chosen, self))

    def of_part(self, rows: slice, columns: slice, size: Sequence[int], spare: int) -> "Impression":
        """Return the impression for a part of the pictures, with its own places.

        Args:
            rows, columns: the part, with all around it that a network must see.
            size: height and width of the pictures.
            spare: how many of these pixels, a multiple of 16, only the tone need see.

        Returns:
            An impression without places for a part whose sides do not lie where those of places do.
        """
        this = self if self.change is None else self._replace(treated=None, change=None)
        sides = [(part.start, min(part.stop, end), end) for part, end in zip((rows, columns), size, strict=True)]
        if any(start % PLACE or (stop % PLACE and stop < end) for start, stop, end in sides):
            return this
        high, wide = (slice(start // PLACE, -(-stop // PLACE)) for start, stop, _ in sides)
        (top, bottom), (left, right) = ((spare * (start > 0), spare * (stop < end)) for start, stop, end in sides)
        places = None if self.places is None else self.places[..., high, wide]
        return this._replace(places=places, spare=(left, right, top, bottom))

    def needed(self, values: Tensor, scale: int = 1) -> Tensor:
        """Cut off what only the tone need see.

        Of values (B, C, h, w) at 1 / scale of the size of the pictures.
        """
        if self.spare is None:
            return values
        left, right, top, bottom = (side // scale for side in self.spare)
        return values[..., top : values.shape[-2] - bottom, left : values.shape[-1] - right]

    def known(self, y: Tensor, decided: Tensor) -> Tensor | None:
        """Tell which pictures a trial has treated for just what is decided.

        Args:
            y: (B, 3, H, W), the pictures.
            decided: (B, kinds).

        Returns:
            (B,), or None where there are none.
        """
        if self.treated is None or self.change is None or self.change.shape != y.shape:
            return None
        known = (self.treated == decided).all(1) & (decided > 0).any(1)
        return known if known.any() else None

    def of_whole(self, y: Tensor) -> Tensor | None:
        """Return the places of pictures (B, 3, H, W).

        None where they are parts of those that were looked at.
        """
        if self.places is None:
            return None
        rows, _, height, width = self.places.shape
        return self.places if (len(y), *y.shape[-2:]) == (rows, PLACE * height, PLACE * width) else None


def impression(y: Tensor, features: Tensor) -> Impression:
    """Sum up pictures (B, 3, H, W) in [-1, 1] and the examiner's features.

    Their sides are multiples of 4.
    """
    side = 4
    while not exporting() and y[0, 0].numel() > MOST_LEVELS * side**2:
        side *= 2
    small = (block_means(y, side).float() + 1) / 2
    levels = torch.cat([small, small.amin(1, keepdim=True)], 1).flatten(2)
    shares = torch.tensor(SHARES, device=y.device)
    found = quantiles(levels, shares) if exporting() else torch.quantile(levels, shares, dim=-1)
    pooled = [features.mean((2, 3)), features.std((2, 3), correction=0), features.amax((2, 3))]
    return Impression(torch.cat(pooled, 1), found.permute(1, 2, 0))
