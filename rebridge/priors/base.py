"""What a prior is: a generative process, a space it lives in, and a denoiser for given degraded images."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser, Estimate, as_estimate


class PriorError(ValueError):
    """A prior that cannot be found, loaded or used; the message is one sentence that says what to do."""


class Prior(Protocol):
    """A pretrained generative model. Its space is that of pixels in [-1, 1], or of an autoencoder's latents."""

    @property
    def process(self) -> Bridge:
        """Generative process (beta = 0) of the states."""
        ...

    @property
    def lowest(self) -> float:
        """The earliest time of the process that the network was trained at."""
        ...

    @property
    def channels(self) -> int:
        """Of the images it makes: 3, or 1."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its network lies."""
        ...

    @property
    def conditional(self) -> bool:
        """Whether its network sees the degraded image; without, y enters by the start only and the result is biased."""
        ...

    @property
    def presets(self) -> Path | None:
        """The file of settings by task that it brings along, as `rebridge tune` writes it."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to the prior's space (B, c, h, w)."""
        ...

    def decode(self, states: Tensor, size: tuple[int, int]) -> Tensor:
        """States of the prior's space back to images (B, C, *size), about in [0, 1]."""
        ...

    def given(self, images: Tensor) -> Denoiser:
        """The denoiser, called as denoiser(z, s, y), that knows the degraded images (B, C, H, W) in [0, 1]."""
        ...


class ClassifierFree:
    """Classifier-free guidance: x0 = without + scale (with - without), two calls of the network where scale is not 1."""

    def __init__(self, conditional: Denoiser, unconditional: Denoiser, scale: float) -> None:
        self.conditional = conditional
        self.unconditional = unconditional
        self.scale = scale

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Estimate:
        """The guided estimate for x_t, y (B, ...) and t (B,)."""
        known = as_estimate(self.conditional(x_t, t, y)).x0
        if self.scale == 1:
            return Estimate(known)
        free = as_estimate(self.unconditional(x_t, t, y)).x0
        return Estimate(free + self.scale * (known - free))
