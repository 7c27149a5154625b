"""A verdict on a whole picture: which kinds of degradation are in it.

A few layers judge all that was gathered about the picture: pooled features, quantiles of the brightness, and the numbers of
`rebridge.networks.statistics`. What is gathered does not change while the layers learn, so that they can see tens of
thousands of pictures in minutes. Haze is told by a
coarse map of the air alone: with all numbers, layers learn the photographs they see and not what haze is.
Darkness is told by all numbers and by that map, as both err on other pictures. Derived; measured by tools/train_verdict.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.impressions import Impression
from rebridge.networks.statistics import MAP_NUMBERS, MAP_SIDE

MAP_VOICES = 3
"""Layers that tell haze, or darkness, by the map of the air, fitted apart; their mean counts."""
LIGHT_SHARE = 0.5
"""Share that those which see the map have in what is said of darkness; the rest is said by the layers that hear everything."""
UNOPPOSED = 3.0
"""How much less sure of haze, in logits, the layers that hear everything may be; beyond it they have the word."""


class MapVoice(nn.Module):
    """Logit of a kind (B,) from maps, such as those of the air.

    These are (B, maps, MAP_SIDE, MAP_SIDE). maps: how many; numbers: that are heard besides. mean, scale: of each map, as the
    training pictures have them, (maps, 1, 1).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, maps: int = MAP_NUMBERS, numbers: int = 0, width: int = 24, deeper: int = 32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(maps, 1, 1))
        self.register_buffer("scale", torch.ones(maps, 1, 1))
        self.enter = nn.Conv2d(maps + 1, width, 3, padding=1)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.down = nn.Conv2d(width, deeper, 3, padding=1, stride=2)
        self.drop = nn.Dropout(0.1)
        self.first = nn.Linear(3 * deeper + numbers, deeper)
        self.second = nn.Linear(deeper, 1)

    def forward(self, air: Tensor, *numbers: Tensor) -> Tensor:
        """Judge by maps and by numbers (B, numbers).

        What no training picture came near to is cut off.
        """
        scaled = ((air.float() - self.mean) / self.scale).clamp(-6, 6)
        height = torch.linspace(-1.5, 1.5, MAP_SIDE, device=air.device)[:, None].expand_as(scaled[:, :1])
        h = F.gelu(self.inner(F.gelu(self.enter(torch.cat([scaled, height], 1)))))
        h = F.gelu(self.down(h)).flatten(2)
        pooled = self.drop(torch.cat([h.mean(2), h.amax(2), h.amin(2)], 1))
        logit: Tensor = self.second(F.gelu(self.first(torch.cat([pooled, *numbers], 1))))[:, 0]
        return logit.float()


class Verdict(nn.Module):
    """Logits (B, kinds) of what was gathered (B, known) about whole pictures.

    known: numbers per picture. kinds: of degradation. haze: its place among the kinds. sees: voices that see the map of the air
    tell it. dark: place of darkness among the kinds, where such voices have a say in it as well. mean, scale: of each number, as
    the training pictures have them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        known: int,
        kinds: int,
        width: int = 160,
        inner: int = 64,
        haze: int = 1,
        sees: bool = False,
        dark: int | None = None,
    ) -> None:
        super().__init__()
        self.haze = haze
        self.dark = dark
        self.maps = nn.ModuleList(MapVoice() for _ in range(MAP_VOICES if sees else 0))
        self.lights = nn.ModuleList(MapVoice() for _ in range(MAP_VOICES if dark is not None else 0))
        self.register_buffer("mean", torch.zeros(known))
        self.register_buffer("scale", torch.ones(known))
        self.layers = nn.Sequential(
            nn.Linear(known, width),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(width, inner),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(inner, kinds),
        )

    def forward(self, known: Tensor, air: Tensor | None = None) -> Tensor:
        """Judge; numbers that no training picture came near to are cut off.

        Args:
            known: `gathered`, (B, known).
            air: maps of the air of the same pictures, for voices that see them.
        """
        scaled = ((known.float() - self.mean) / self.scale).clamp(-6, 6)
        logits = list(self.layers(scaled).float().split(1, 1))
        if self.maps and air is not None:
            seen = self.seen(air).mean(0)[:, None]
            logits[self.haze] = torch.minimum(seen, logits[self.haze] + UNOPPOSED)
        if self.dark is not None and air is not None:
            shown = self.shown(air).mean(0)[:, None]
            logits[self.dark] = torch.lerp(logits[self.dark], shown, LIGHT_SHARE)
        return torch.cat(logits, 1)

    def seen(self, air: Tensor) -> Tensor:
        """Collect the logits of haze, (voices, B), from maps of the air (B, ...)."""
        return with_mirrored(self.maps, air)

    def shown(self, air: Tensor) -> Tensor:
        """Collect the logits of darkness, (voices, B), likewise."""
        return with_mirrored(self.lights, air)


def with_mirrored(voices: nn.ModuleList, maps: Tensor, *numbers: Tensor) -> Tensor:
    """Collect what voices say of maps (B, ...) and of their mirror images.

    numbers: (B, ...) that they hear besides. Means of both, (voices, B).
    """
    both = torch.cat([maps, maps.flip(-1)])
    heard = [values.repeat(2, 1) for values in numbers]
    return torch.stack([voice(both, *heard).unflatten(0, (2, -1)).mean(0) for voice in voices])


def gathered(seen: Impression, logits: Tensor) -> Tensor:
    """Join all that a `Verdict` hears, (B, known).

    The picture must have been measured.
    """
    if seen.measured is None:
        raise ValueError("this impression was made without statistics: look again with the network that judges")
    return torch.cat([seen.features.float(), seen.levels.flatten(1), logits, seen.measured], 1)
