"""Priors in pixel space: a diffusion network of our own on the vp process, with and without a degraded image.

The network sees cat[x_t - alpha y, y, c] with c = 1 where there is a condition and 0 where y = 0 stands for none; trained with
`states.condition_dropout`, the same weights are p(x0) and p(x0 | y).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from rebridge.bridges.diffusion import Generative
from rebridge.denoisers import Denoiser, Estimate
from rebridge.hub import Model, find_model, load_model
from rebridge.hub.format import PRESET_FILE
from rebridge.inference.restorer import Autocast, dtype_of
from rebridge.priors.base import ClassifierFree, PriorError
from rebridge.priors.transition import lowest_time

DEFAULT_PRIOR = "pixel-prior-tiny"


class PixelPrior:
    """A model folder whose bridge is generative (vp, ve, rectified-flow) as a prior.

    condition: whether the network sees the degraded image; without, the prior is that of images in general and the
    restoration is biased (see docs/irbridge.md). guidance: classifier-free guidance, 1 for none. presets: the file of
    settings that it brings along. Raises PriorError for a model of another bridge, or one that was not trained to do without
    the condition where that is asked for.
    """

    def __init__(
        self,
        model: Model,
        condition: bool = True,
        guidance: float = 1.0,
        dtype: str | torch.dtype | None = None,
        presets: Path | None = None,
    ) -> None:
        if not isinstance(model.bridge, Generative):
            raise PriorError(
                f"model '{model.name}' restores along the bridge {model.bridge.name}; a prior needs vp, ve or rectified-flow"
            )
        if (not condition or guidance != 1) and not getattr(model.network, "optional_condition", False):
            raise PriorError(
                f"model '{model.name}' was not trained without a degraded image: optional_condition is off"
            )
        self.model = model
        self.process: Generative = model.bridge
        self.lowest = lowest_time(model.bridge)
        self.channels = int(getattr(model.network, "channels", 3))
        self.device = next(model.network.parameters()).device
        self.conditional = condition
        self.guidance = guidance
        self.presets = presets
        precision = dtype_of(dtype)
        self.denoiser: Denoiser = model.denoiser
        if precision != torch.float32:
            self.denoiser = Autocast(model.denoiser, self.device.type, precision)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_PRIOR,
        device: str | torch.device = "cpu",
        condition: bool = True,
        guidance: float = 1.0,
        revision: str | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> PixelPrior:
        """By packaged name, folder or Hugging Face id. Raises ModelError for a model that cannot be loaded.

        dtype: float32, or bfloat16 or float16 to run the network in autocast.
        """
        model = load_model(name, device, revision)
        presets = find_model(name, revision) / PRESET_FILE
        return cls(model, condition, guidance, dtype, presets if presets.is_file() else None)

    def encode(self, images: Tensor) -> Tensor:
        """[0, 1] to the process's range."""
        low, high = self.process.value_range
        return (low + (high - low) * images.to(self.device)).contiguous(memory_format=torch.channels_last)

    def decode(self, states: Tensor, size: tuple[int, int]) -> Tensor:
        """The process's range to [0, 1]."""
        low, high = self.process.value_range
        return (states.float() - low) / (high - low)

    def given(self, images: Tensor) -> Denoiser:
        """The network; the degraded image reaches it as the y of each call, encoded."""
        if not self.conditional:
            return self._without
        return self.denoiser if self.guidance == 1 else ClassifierFree(self.denoiser, self._without, self.guidance)

    def _without(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor | Estimate:
        return self.denoiser(x_t, t, torch.zeros_like(y))
