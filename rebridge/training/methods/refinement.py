"""Stochastic refinement.

The bridge starts from the prediction g(y) of a second network instead of y.

    loss(D(x_t, t, g), x0) + w |g - x0|,    x_t between g = g(y) and x0,    g(y) = y + network(y, 1, y)

Whang et al., arXiv 2112.02475; with a generative process it is a diffusion of x0 - g(y).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rebridge import networks
from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser, NetworkDenoiser
from rebridge.networks.catalogue import NETWORKS
from rebridge.networks.conditions import NONE, Values
from rebridge.training.config import Named, RunConfig, Section
from rebridge.training.losses import distance
from rebridge.training.methods.bridge import BridgeObjective, DenoiserTraining, TrainConfig
from rebridge.training.parts import create, load_weights


class PredictorConfig(Section):
    """The predictor of a refinement.

    Attributes:
        network: from the catalogue, used once at t = 1.
        spandrel: a file of a restorer that spandrel knows, which takes the place of `network` and stays as it is.
        joint: true if the bridge's own loss trains the predictor too, end to end (arXiv 2112.02475).
        weight: of the L1 distance between g(y) and x0 beside it; 0 is the paper's training.
        start_from: a model folder or .safetensors file with the predictor's first weights.
    """

    network: Named = Named(name="fast")
    spandrel: Path | None = None
    joint: bool = True
    weight: Annotated[float, Field(ge=0)] = 1.0
    start_from: Path | None = None

    @model_validator(mode="after")
    def _something_trains_it(self) -> PredictorConfig:
        if self.spandrel is not None:
            if self.start_from is not None:
                raise ValueError("spandrel brings its weights: leave start_from out")
            return self
        if not self.joint and self.weight == 0 and self.start_from is None:
            raise ValueError("nothing trains the predictor: set joint, a weight above 0, or start_from")
        return self


class RefinementConfig(TrainConfig):
    """The settings of a refinement: those of a bridge, and its predictor."""

    PROBLEM: ClassVar[tuple[str, ...]] = (*TrainConfig.PROBLEM, "predictor.network")

    predictor: PredictorConfig = PredictorConfig()

    @model_validator(mode="after")
    def _conditions(self) -> RefinementConfig:
        if self.states.condition_dropout:
            raise ValueError("states.condition_dropout cannot be combined with predictor or latent")
        return self


class Refinement(nn.Module):
    """A network and the predictor whose result it refines, as one module.

    So there is one optimiser, one average and one checkpoint.
    """

    def __init__(self, network: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.predictor = predictor

    def forward(self, x: Tensor, t: Tensor, y: Tensor, **conditions: Tensor) -> Tensor:
        """Raw output (B, C, H, W) of the network; its predictor sees no extra conditions."""
        result: Tensor = self.network(x, t, y, **conditions)
        return result

    def predict(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Raw output (B, C, H, W) of the predictor."""
        result: Tensor = self.predictor(x, t, y)
        return result

    def classify(self, y: Tensor) -> Tensor:
        """The network's classification of y."""
        network: Any = self.network
        result: Tensor = network.classify(y)
        return result


class RefinementObjective:
    """The bridge between g(y) and x0, trained jointly with g.

    Args:
        config: of the run.
        bridge: the process.
        network, predict: the network and the predictor in training, in their precision.
        average: the module of averaged weights of both.
    """

    def __init__(
        self, config: RefinementConfig, bridge: Bridge, network: nn.Module, predict: nn.Module, average: Refinement
    ) -> None:
        self.inner = BridgeObjective(config, bridge, network, average)
        self.settings = config.predictor
        self.predictor = NetworkDenoiser(predict, bridge, "residual").train()
        self.average = average
        self.predict = NetworkDenoiser(average.predictor, bridge, "residual").eval()
        self._distance = torch.zeros(())

    def loss(self, x0: Tensor, y: Tensor, first: int, told: Values = NONE) -> Tensor:
        """The loss of the bridge from g(y), and the distance of g(y) itself."""
        predicted = self.predictor(y, y.new_ones(len(y)), y)
        apart = distance(predicted, x0, "l1")
        self._distance = apart.detach()
        start = predicted if self.settings.joint else predicted.detach()
        return self.inner.loss(x0, start, first, told) + self.settings.weight * apart

    def condition(self, x0: Tensor, y: Tensor) -> tuple[Denoiser, Tensor]:
        """The averaged denoiser, and the averaged predictor's g(y)."""
        return self.inner.restorer, self.predict(y, y.new_ones(len(y)), y)

    def metrics(self) -> dict[str, float]:
        """The distance of the prediction."""
        return {"predictor l1": float(self._distance)}

    def averages(self) -> tuple[nn.Module, nn.Module | None]:
        """Both averaged networks."""
        return self.average.network, self.average.predictor


class RefinementTraining(DenoiserTraining):
    """Train a bridge that starts from a prediction, jointly with the predictor."""

    Config: ClassVar[type[RunConfig]] = RefinementConfig
    section: ClassVar[str | None] = "predictor"
    config: RefinementConfig
    module: Refinement

    @classmethod
    def check(cls, config: Any) -> None:
        """Raise ConfigError for settings that do not fit one another."""
        super().check(config)
        part = config.predictor.network
        create("predictor.network", NETWORKS.check, part.name, {"params": part.params})

    def build(self) -> nn.Module:
        """The network and its predictor."""
        network = create("network", networks.create, self.config.network.name, self.config.network.params)
        settings, part = self.config.predictor, self.config.predictor.network
        load_weights(network, self.config.start_from, "start_from")
        if settings.spandrel is not None:
            return Refinement(network, self._restorer(settings.spandrel))
        predictor: nn.Module = create("predictor.network", networks.create, part.name, part.params)
        # Several processes wait for the gradient of everything that is not frozen.
        predictor.requires_grad_(settings.joint or settings.weight > 0)
        load_weights(predictor, settings.start_from, "predictor.start_from")
        return Refinement(network, predictor)

    def _restorer(self, file: Path) -> nn.Module:
        from rebridge.networks.spandrel import SpandrelRestorer

        given = {"value_range": self.bridge.value_range}
        restorer: nn.Module = create("predictor.spandrel", SpandrelRestorer, str(file), given)
        return restorer

    def objective_of(self) -> RefinementObjective:
        """Make the objective."""
        average: Any = self.ema.module
        network, predict = self.in_precision(self.module), self.in_precision(self.module.predict)
        return RefinementObjective(self.config, self.bridge, network, predict, average)
