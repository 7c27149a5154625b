"""Names of earlier releases whose form has changed, kept for one release.

They are reached through the old import paths only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser, NetworkDenoiser
from rebridge.inverse import Method, OperatorSpec, Problem, Proximal
from rebridge.inverse.methods import DDNM, DDRM, DDS, DiffPIR, NoiseRefined
from rebridge.inverse.operators import Measures, Operator
from rebridge.models import Model, ModelError, TrainedModel, load_model, load_prior
from rebridge.models.diffusers import DiffusersModel
from rebridge.models.pipelines import load_pipeline
from rebridge.restoration import Restorer, Samples
from rebridge.samplers import create

__all__ = ["Model", "load_model", "load_prior"]

Solution = Samples
PriorError = ModelError
Prior = Model
DiffusersPrior = DiffusersModel
from_pretrained = load_pipeline
Solver = Method
Task = OperatorSpec


class PixelPrior(TrainedModel):
    """A model folder whose bridge is generative; now any `TrainedModel`."""

    def __new__(cls, model: TrainedModel, condition: bool = True, guidance: float = 1.0, **options: Any) -> Any:
        """The model of the folder with another condition or guidance."""
        described: dict[str, Any] = {"name": model.info.name, "sampler": model.info.sampler, "tasks": model.info.tasks}
        described |= {"training": model.training, "presets": model.info.presets}
        return TrainedModel(model.denoiser, condition=condition, guidance=guidance, **described, **options)

    @classmethod
    def from_pretrained(cls, name: str | Path = "pixel-prior-tiny", device: Any = "cpu", **options: Any) -> Model:
        """Load the prior of that name."""
        return load_prior(name, device=device, **options)


class IRBridgeRestorer(Restorer):
    """A prior inside a bridge; now `Restorer.from_preset`."""

    def __new__(
        cls, prior: Any, preset: Any = None, task: str | None = None, detail: float = 0.0, **settings: Any
    ) -> Any:
        """The restorer of a preset."""
        return Restorer.from_preset(prior, preset, task, detail, **settings)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name: str | Path = "pixel-prior-tiny",
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Restorer:
        """Make the restorer of a preset; prior: further options of `load_prior`."""
        return Restorer.from_preset(load_prior(name, device=device, dtype=dtype, **(prior or {})), **options)


def save_model(
    folder: str | Path,
    network: nn.Module,
    bridge: Bridge,
    prediction: str,
    sampler: Mapping[str, Any],
    tasks: list[str],
    training: Mapping[str, Any] | None = None,
    card: str | None = None,
    dtype: torch.dtype | None = None,
    predictor: nn.Module | None = None,
    scale: float = 1.0,
) -> Path:
    """Write a model folder; now `TrainedModel.save_pretrained`."""
    if predictor is not None and not isinstance(predictor, NetworkDenoiser):
        predictor = NetworkDenoiser(predictor, bridge, "residual")
    model = TrainedModel.of(
        network, bridge, prediction, scale=scale, sampler=sampler, tasks=tasks, training=training, predictor=predictor
    )
    return model.save_pretrained(folder, dtype=dtype, card=card)


def conditional_ddim(
    process: Bridge, prior: Any, y: Tensor, *, steps: int = 25, eta: float = 0.0, **options: Any
) -> Tensor:
    """Generate from pure noise; now the sampler "ddim"."""
    return create("ddim", steps=steps, eta=eta)(process, prior, y, **options)


def sdedit(
    process: Bridge, prior: Any, y: Tensor, *, strength: float = 0.5, steps: int = 25, eta: float = 0.0, **options: Any
) -> Tensor:
    """Begin at an intermediate time; now the sampler "sdedit"."""
    return create("sdedit", strength=strength, steps=steps, eta=eta)(process, prior, y, **options)


def unconditional(prior: Model) -> Model:
    """A prior's p(x); now `model.given(None)`, which solvers ask for themselves."""
    prior.given(None)
    return prior


Unconditional = Model


def noise_level(process: Bridge, t: Tensor | float) -> Tensor:
    """The noise-to-signal ratio; now `Bridge.noise_level`."""
    return process.noise_level(t)


def level_range(process: Bridge) -> tuple[float, float]:
    """The range of noise-to-signal ratios; now `Bridge.level_range`."""
    return process.level_range


def time_of_level(process: Bridge, level: Tensor | float) -> Tensor:
    """The time of a noise level; now `Bridge.time_of_level`."""
    return process.time_of_level(level)


def noisiest_time(process: Bridge) -> float:
    """The time of the largest noise level; now `Bridge.noisiest_time`."""
    return process.noisiest_time


def lowest_time(prior: Bridge) -> float:
    """The earliest trained time; now `Bridge.earliest_time`."""
    return prior.earliest_time


def grid_time(prior: Bridge, s: Tensor | float) -> Tensor:
    """The earliest grid time at or after s; now `Bridge.grid_time`."""
    return prior.grid_time(s)


def ddnm(operator: Measures, y: Tensor) -> Proximal:
    """Guide by DDNM; now `DDNM().guidance`."""
    return DDNM().guidance(operator, y)


def dds(operator: Measures, y: Tensor, gamma: float = 10.0) -> Proximal:
    """Guide by DDS; now `DDS(gamma=...).guidance`."""
    return DDS(gamma=gamma).guidance(operator, y)


def diffpir(operator: Measures, y: Tensor, sigma_y: float, lam: float = 7.0) -> Proximal:
    """Guide by DiffPIR; now `DiffPIR(lam=...).guidance`."""
    return DiffPIR(lam=lam).guidance(operator, y, sigma_y)


def nrlg(operator: Measures, y: Tensor, sigma_y: float, variance: Any = "unit", reuse: Any = "refined") -> Proximal:
    """Guide by noise-refined likelihood guidance; now `NoiseRefined(...).guidance`."""
    return NoiseRefined(variance=variance, reuse=reuse).guidance(operator, y, sigma_y)


class SpectralWalk:
    """DDRM as a sampler; now the method `DDRM`."""

    def __init__(self, *, operator: Measures, measurement: Tensor, sigma_y: float = 0.0, **settings: Any) -> None:
        self.operator, self.measurement, self.sigma_y = operator, measurement, sigma_y
        self.method = DDRM(**settings)

    def __call__(self, bridge: Bridge, denoiser: Denoiser, y: Tensor, **options: Any) -> Tensor:
        """Restore the measurement; y is not used."""
        return self.method(Problem(bridge, denoiser, self.operator, self.measurement, self.sigma_y), **options)


def picture(operator: Operator, y: Tensor, scale: int = 1) -> Tensor | None:
    """Show measurements as pictures; now `operator.to_picture`."""
    return operator.to_picture(y)
