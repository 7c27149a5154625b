"""Restore images with a generative prior inside a bridge: image in, restored image of the same kind out.

    from rebridge.priors import IRBridgeRestorer
    restore = IRBridgeRestorer.from_pretrained("pixel-prior-tiny", task="rain")
    image = restore(image, steps=25, seed=0)

Beside the paper's loop ("irbridge") every sampler of the catalogue runs, by way of `TransitionDenoiser`, and so do the two
baselines that use the prior without a bridge: "ddim" (generation from pure noise, conditioned) and "sdedit".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser
from rebridge.inference import Restorer
from rebridge.inference.restorer import SamplerChoice
from rebridge.names import create_of
from rebridge.priors.base import Prior
from rebridge.priors.baselines import conditional_ddim, sdedit
from rebridge.priors.details import keep_details
from rebridge.priors.irbridge import IRBridge, TransitionDenoiser
from rebridge.priors.loading import load_prior
from rebridge.priors.presets import chosen_preset
from rebridge.priors.presets import preset as preset_settings
from rebridge.samplers import Sampler


@dataclass(frozen=True, kw_only=True)
class Generation(Sampler):
    """The prior without a bridge: from pure noise ("ddim", strength None) or from y under noise ("sdedit")."""

    name: ClassVar[str] = "generation"

    process: Bridge
    steps: int = 25
    eta: float = 0.0
    strength: float | None = None

    def check(self, bridge: Bridge) -> None:
        """Any bridge: it is not used."""

    def __call__(self, bridge: Bridge, denoiser: Denoiser, y: Tensor, **options: Any) -> Tensor:
        """Restore y (B, ...) in the prior's space; `denoiser` is the prior; options: noise, generator, callback."""
        if self.strength is None:
            return conditional_ddim(self.process, denoiser, y, steps=self.steps, eta=self.eta, **options)
        return sdedit(self.process, denoiser, y, strength=self.strength, steps=self.steps, eta=self.eta, **options)


@dataclass(frozen=True, kw_only=True)
class OnPrior(Sampler):
    """A sampler of the catalogue that sees the prior as the bridge's denoiser."""

    name: ClassVar[str] = "on-prior"

    inner: Sampler
    process: Bridge
    lowest: float

    def check(self, bridge: Bridge) -> None:
        """Raise ValueError where the sampler cannot walk the bridge."""
        self.inner.check(bridge)

    def __call__(self, bridge: Bridge, denoiser: Denoiser, y: Tensor, **options: Any) -> Tensor:
        """Restore y (B, ...) in the prior's space; `denoiser` is the prior; options as in `Sampler`."""
        return self.inner(bridge, TransitionDenoiser(denoiser, self.process, bridge, self.lowest), y, **options)


class IRBridgeRestorer(Restorer):
    """A prior, a bridge and the paper's loop behind one call; options of the call as in `Restorer`.

    preset: "sound" or "paper", see `rebridge.priors.presets`, a file that `rebridge tune` wrote, or "tuned": the one that the
    prior brings along; by default that one where it has settings for the task, or else "sound". task: the degradation, for the
    settings chosen for it. detail: strength in [0, 1] with which details of the input are kept where nothing was restored,
    see `rebridge.priors.details`; for autoencoders that lose them. settings: changes to the preset, as in `preset`.
    Raises ValueError for settings that cannot be.
    """

    def __init__(
        self,
        prior: Prior,
        preset: str | Path | None = None,
        task: str | None = None,
        detail: float = 0.0,
        **settings: Any,
    ) -> None:
        if not 0 <= detail <= 1:
            raise ValueError(f"detail must lie in [0, 1], got {detail}")
        chosen = preset_settings(chosen_preset(preset, prior.presets, task), task, **settings)
        process = dict(chosen.pop("bridge"))
        bridge = bridges.create(process.pop("name"), **process)
        self.prior = prior
        self.detail = detail
        self.wrap: Callable[[Denoiser], Denoiser] = lambda denoiser: denoiser
        self._made_of: dict[str, Any] = {"preset": preset, "detail": detail, **settings}
        model = getattr(prior, "model", None)
        window = getattr(getattr(model, "network", None), "window", None)
        super().__init__(
            _unused, bridge, {"name": "irbridge", **chosen}, prior.device, prior.channels, model, window=window
        )
        self.sampler().check(bridge)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name: str | Path = "pixel-prior-tiny",
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        *,
        prior: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> IRBridgeRestorer:
        """With a prior by packaged name, folder (rebridge's or diffusers') or Hugging Face id.

        prior: further parameters of `load_prior`, such as controlnet. options: those of the class.
        """
        return cls(load_prior(name, device=device, dtype=dtype, **(prior or {})), **options)

    def for_task(self, task: str) -> IRBridgeRestorer:
        """The same prior and settings, with what the preset has chosen for another degradation."""
        return IRBridgeRestorer(self.prior, task=task, **self._made_of)

    def wrapped(self, wrap: Callable[[Denoiser], Denoiser]) -> IRBridgeRestorer:
        """A restorer like this one whose prior is wrapped."""
        other = super().wrapped(lambda denoiser: denoiser)
        assert isinstance(other, IRBridgeRestorer)
        other.wrap = lambda denoiser: wrap(self.wrap(denoiser))
        return other

    def sampler(self, choice: SamplerChoice = None, steps: int | None = None) -> Sampler:
        """As in `Restorer`; a sampler of the catalogue is made to see the prior as the bridge's denoiser."""
        chosen = super().sampler(choice, steps)
        if isinstance(chosen, IRBridge | Generation | OnPrior):
            return chosen
        return OnPrior(inner=chosen, process=self.prior.process, lowest=self.prior.lowest, steps=chosen.steps)

    def _create(self, name: str, **params: Any) -> Sampler:
        process, lowest = self.prior.process, self.prior.lowest
        if name == "irbridge":
            return _checked(IRBridge, name, {"process": process, "lowest": lowest, **params})
        if name == "ddim":
            return _checked(Generation, name, {"process": process, **params})
        if name == "sdedit":
            return _checked(Generation, name, {"process": process, "strength": 0.5, **params})
        return samplers.create(name, **params)

    def _encode(self, images: Tensor) -> Tensor:
        return self.prior.encode(images)

    def _decode(self, restored: Tensor, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        result = self.prior.decode(restored, (height, width)).float()
        if self.detail == 0:
            return result
        known = self._coloured(images).to(result)
        through = self.prior.decode(self.prior.encode(known), (height, width)).float()
        return keep_details(result, known, through, self.detail)

    def _denoiser_for(self, images: Tensor, y: Tensor, tile: int | None, overlap: int | None) -> Denoiser:
        denoiser = self.wrap(self.prior.given(self._coloured(images).to(self.device)))
        if y.shape[-2:] != images.shape[-2:]:
            return denoiser  # latents: the autoencoder has tiles of its own
        return self._tiled(denoiser, tile, overlap, y)


def _checked(kind: type[Sampler], name: str, params: dict[str, Any]) -> Sampler:
    return create_of("sampler", {name: kind}, name, params)


def _unused(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    raise ValueError("a prior denoises given images: call the restorer, not its denoiser")
