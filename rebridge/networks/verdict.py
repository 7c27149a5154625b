"""A verdict on a whole picture: which kinds of degradation are in it.

A few layers judge all that was gathered about the picture: pooled features, quantiles of the brightness, and the numbers of
`rebridge.networks.statistics`. What is gathered does not change while the layers learn, so that they can see tens of
thousands of pictures in minutes. Haze is told by few numbers alone, the levels and the air: with all of them, layers learn the
photographs they see and not what haze is. Derived; measured by tools/train_verdict.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rebridge.networks.toning import Impression

AIR_VOICES = 3
"""Layers that tell haze, fitted apart; their mean counts."""
UNOPPOSED = 2.0
"""How much less sure of haze, in logits, the layers that hear everything may be; beyond it they have the word."""


class Verdict(nn.Module):
    """Logits (B, kinds) of what was gathered (B, known) about whole pictures.

    known: numbers per picture. kinds: of degradation. air: places among the numbers of those that haze is told by, none for all;
    haze: its place among the kinds. mean, scale: of each number, as the training pictures have them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, known: int, kinds: int, width: int = 160, inner: int = 64, air: Sequence[int] = (), haze: int = 1
    ) -> None:
        super().__init__()
        self.places = list(air)
        self.haze = haze
        self.air = nn.ModuleList(_few(len(self.places)) for _ in range(AIR_VOICES if self.places else 0))
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

    def forward(self, known: Tensor) -> Tensor:
        """Judge; numbers that no training picture came near to are cut off."""
        scaled = ((known.float() - self.mean) / self.scale).clamp(-6, 6)
        logits: Tensor = self.layers(scaled).float()
        if not self.places:
            return logits
        every = logits[:, self.haze : self.haze + 1] + UNOPPOSED
        told = torch.minimum(self.voices(scaled[:, self.places]).mean(0), every)
        return torch.cat([logits[:, : self.haze], told, logits[:, self.haze + 1 :]], 1)

    def voices(self, heard: Tensor) -> Tensor:
        """Collect the logits of haze, (voices, B, 1), from what it is told by alone."""
        return torch.stack([voice(heard).float() for voice in self.air])


def gathered(seen: Impression, logits: Tensor) -> Tensor:
    """Join all that a `Verdict` hears, (B, known).

    The picture must have been measured.
    """
    if seen.measured is None:
        raise ValueError("this impression was made without statistics: look again with the network that judges")
    return torch.cat([seen.features.float(), seen.levels.flatten(1), logits, seen.measured], 1)


def _few(known: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(known, 48), nn.GELU(), nn.Dropout(0.1), nn.Linear(48, 24), nn.GELU(), nn.Linear(24, 1)
    )
