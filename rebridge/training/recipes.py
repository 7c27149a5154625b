"""What one batch teaches: the plain bridge, stochastic refinement, and the two stages of a latent prior.

A recipe knows the networks of a run, gives the loss of a batch, and says what the averaged weights make of a degraded image.

    bridge          loss(D(x_t, t, y), x0),             x_t between y and x0
    refinement      loss(D(x_t, t, g), x0) + w |g - x0|, x_t between g = g(y) and x0   (arXiv 2112.02475)
    latent, stage 1 |G(y, z) - x0|,                      z = E(x0, y)                   (arXiv 2305.12966)
    latent, stage 2 |G(y, z_hat) - x0| + w |z_hat - z|,  z_hat from y by diffusion
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rebridge import networks
from rebridge.bridges import Bridge
from rebridge.data.seeds import generator_of
from rebridge.denoisers import Denoiser, NetworkDenoiser
from rebridge.networks.hidiff import HiDiff
from rebridge.training.config import ConfigError, PredictorConfig, TrainConfig
from rebridge.training.objectives import distance, loss_of
from rebridge.training.states import END_ONLY, draw_states, drop_conditions


class Refinement(nn.Module):
    """A network and the predictor whose result it refines, as one module: one optimiser, one average, one checkpoint."""

    def __init__(self, network: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.predictor = predictor

    def forward(self, x: Tensor, t: Tensor, y: Tensor, predict: bool = False) -> Tensor:
        """Raw output (B, C, H, W) of the network, or of the predictor."""
        result: Tensor = (self.predictor if predict else self.network)(x, t, y)
        return result


class Predicting(nn.Module):
    """The predictor of a `Refinement` that may be wrapped for several processes, so that all calls go through the wrapper."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        result: Tensor = self.whole(x, t, y, predict=True)
        return result


class Recipe:
    """The plain bridge, or regression: D(x_t, t, y) against x0.

    model: the network being trained, wrapped as the accelerator wants it. average: the module of averaged weights.
    """

    def __init__(self, config: TrainConfig, bridge: Bridge, model: nn.Module, average: nn.Module) -> None:
        role: dict[str, Any] = {"prediction": config.prediction, "scale": config.residual_scale}
        self.config = config
        self.bridge = bridge
        self.denoiser = NetworkDenoiser(model, bridge, **role).train()
        self.restorer = NetworkDenoiser(average, bridge, **role).eval()
        self.plan = END_ONLY if config.objective == "regression" else config.states

    def loss(self, x0: Tensor, y: Tensor, first: int) -> Tensor:
        """The loss, a scalar with gradients, of samples number `first` on; x0, y (B, C, H, W) in the bridge's range."""
        states = draw_states(self.bridge, self.denoiser, x0, y, first, self.config.seed, self.plan)
        return loss_of(self.denoiser, x0[states.rows], y[states.rows], states, self.config.loss)

    def given(self, x0: Tensor, y: Tensor) -> tuple[Denoiser, Tensor]:
        """For validation: the denoiser of averaged weights, and the image that the bridge starts from instead of y."""
        return self.restorer, y

    def figures(self) -> dict[str, float]:
        """What to report beside the loss, for the last batch, by name."""
        return {}

    def parts(self) -> tuple[nn.Module, nn.Module | None]:
        """What is saved: the averaged network, and the averaged predictor if there is one."""
        return self.restorer.network, None


class PlainRecipe(Recipe):
    """The plain bridge; a share of the samples may go without a condition."""

    def loss(self, x0: Tensor, y: Tensor, first: int) -> Tensor:
        y = drop_conditions(y, first, self.config.seed, self.config.states.condition_dropout)
        return super().loss(x0, y, first)


class RefinementRecipe(Recipe):
    """The bridge between g(y) and x0, trained jointly with g; with a generative process, a diffusion of x0 - g(y)."""

    def __init__(
        self, config: TrainConfig, bridge: Bridge, model: nn.Module, average: nn.Module, predictor: PredictorConfig
    ) -> None:
        assert isinstance(average, Refinement)
        super().__init__(config, bridge, model, average)
        self.settings = predictor
        self.predictor = NetworkDenoiser(Predicting(model), bridge, "residual").train()
        self.average = average
        self.predict = NetworkDenoiser(average.predictor, bridge, "residual").eval()
        self._distance = torch.zeros(())

    def loss(self, x0: Tensor, y: Tensor, first: int) -> Tensor:
        predicted = self.predictor(y, y.new_ones(len(y)), y)
        own = distance(predicted, x0, "l1")
        self._distance = own.detach()
        start = predicted if self.settings.joint else predicted.detach()
        return super().loss(x0, start, first) + self.settings.weight * own

    def given(self, x0: Tensor, y: Tensor) -> tuple[Denoiser, Tensor]:
        return self.restorer, self.predict(y, y.new_ones(len(y)), y)

    def figures(self) -> dict[str, float]:
        return {"predictor l1": float(self._distance)}

    def parts(self) -> tuple[nn.Module, nn.Module | None]:
        return self.average.network, self.average.predictor


@dataclass(frozen=True)
class WithTruth:
    """A denoiser of stage 1, which takes its latent prior from the clean image: an upper bound, not a restorer."""

    denoiser: NetworkDenoiser
    clean: Tensor

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The clean estimate (B, C, H, W)."""
        low, high = self.denoiser.bridge.value_range
        output: Tensor = self.denoiser.network(x_t, t, y, clean=self.clean)
        return (y + output).clamp(low, high)


class LatentRecipe(Recipe):
    """HI-Diff's stages, at t = 1: the network finds z from (clean, degraded) in stage 1 and from y alone in stage 2."""

    def __init__(
        self, config: TrainConfig, bridge: Bridge, model: nn.Module, average: nn.Module, network: nn.Module
    ) -> None:
        assert config.latent is not None
        assert isinstance(network, HiDiff)
        super().__init__(config, bridge, model, average)
        self.settings = config.latent
        self.model, self.network, self.average = model, network, average
        self._last: tuple[Tensor, Tensor] | None = None

    def loss(self, x0: Tensor, y: Tensor, first: int) -> Tensor:
        ones = y.new_ones(len(y))
        kind = self.config.loss.kind
        if self.settings.stage == 1:
            return distance(y + self.model(y, ones, y, clean=x0), x0, kind)
        shape = self.network.latent_shape
        draws = [generator_of(self.config.seed, "latent", first + place) for place in range(len(y))]
        noise = torch.stack([torch.randn(shape, generator=draw) for draw in draws]).to(y)
        with torch.no_grad():
            z = self.network.prior(y, clean=x0).float()
        output, z_hat = self.model(y, ones, y, noise=noise, with_prior=True)
        self._last = (z_hat.detach(), z)
        return distance(y + output, x0, kind) + self.settings.weight * distance(z_hat, z, "l1")

    def given(self, x0: Tensor, y: Tensor) -> tuple[Denoiser, Tensor]:
        if self.settings.stage == 1:
            return WithTruth(self.restorer, x0), y
        return self.restorer, y

    def figures(self) -> dict[str, float]:
        if self._last is None:
            return {}
        z_hat, z = self._last
        return {"z l1": float(distance(z_hat, z, "l1")), "z correlation": correlation(z_hat, z)}


def build_network(config: TrainConfig, create: Callable[..., Any]) -> nn.Module:
    """The network or networks that a run trains; `create(key, function, name, params)` adds the key to errors."""
    network: nn.Module = create("network", networks.create, config.network.name, config.network.params)
    if config.latent is not None:
        if not isinstance(network, HiDiff):
            raise ConfigError(f"latent: the network {config.network.name} has no latent prior; use hi-diff")
        create("latent", network.begin_stage, config.latent.stage)
    if config.predictor is None:
        return network
    part = config.predictor.network
    predictor: nn.Module = create("predictor.network", networks.create, part.name, part.params)
    # Several processes wait for the gradient of everything that is not frozen.
    predictor.requires_grad_(config.predictor.joint or config.predictor.weight > 0)
    return Refinement(network, predictor)


def recipe_of(config: TrainConfig, bridge: Bridge, model: nn.Module, network: nn.Module, average: nn.Module) -> Recipe:
    """The recipe that a configuration asks for; raises ValueError for a prediction that the bridge cannot have."""
    if config.predictor is not None:
        return RefinementRecipe(config, bridge, model, average, config.predictor)
    if config.latent is not None:
        return LatentRecipe(config, bridge, model, average, network)
    return PlainRecipe(config, bridge, model, average)


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation of two batches of latents (B, ...), each element centred over the batch first.

    Centring takes away what is the same for all images, which would be predicted without looking at them; 0 for B = 1.
    """
    a, b = (value.double() - value.double().mean(0, keepdim=True) for value in (a, b))
    scale = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / scale) if scale > 0 else 0.0
