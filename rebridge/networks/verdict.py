"""A verdict on a whole picture: which kinds of degradation are in it.

A few layers judge all that was gathered about the picture: pooled features, quantiles of the brightness, and the numbers of
`rebridge.networks.statistics`. What is gathered does not change while the layers learn, so that they can see tens of
thousands of pictures in minutes. Derived; measured by tools/train_verdict.py.
"""

import torch
from torch import Tensor, nn


class Verdict(nn.Module):
    """Logits (B, kinds) of what was gathered (B, known) about whole pictures.

    known: numbers per picture. kinds: of degradation. mean, scale: of each number, as the training pictures have them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, known: int, kinds: int, width: int = 160, inner: int = 64) -> None:
        super().__init__()
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
        logits: Tensor = self.layers(((known.float() - self.mean) / self.scale).clamp(-6, 6))
        return logits.float()
