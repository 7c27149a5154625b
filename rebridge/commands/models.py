"""Commands `models` and `info`: the packaged models, and one model in detail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rebridge import networks
from rebridge.commands.options import InfoOptions
from rebridge.models import Model, TrainedModel, find_model, load_model, packaged, read_config
from rebridge.models.config import CONFIG_FILE, WEIGHTS_FILE


@dataclass(frozen=True)
class PackagedModel:
    """One packaged model.

    Attributes:
        name: to load it by.
        tasks: degradations that it removes.
        bridge, network: names.
        steps: of its recommended sampler.
        megabytes: of its weights.
    """

    name: str
    tasks: list[str]
    bridge: str
    network: str
    steps: int | None
    megabytes: float


@dataclass(frozen=True)
class ModelReport:
    """Description of one model.

    Attributes:
        name: as its folder is called.
        folder: where it lies.
        model: loaded.
        parameters: number of weights.
        flops: of one call for an image of 256 x 256 pixels, or None where they cannot be counted.
        macs: multiply-accumulate operations of the same call.
        config: as in config.json: bridge, network, sampler, prediction, tasks, training.
    """

    name: str
    folder: str
    model: Model
    parameters: int
    flops: int | None = None
    macs: int | None = None
    config: dict[str, Any] = field(default_factory=dict)


def list_models() -> list[PackagedModel]:
    """List the models that come with rebridge."""
    found = []
    for name in packaged():
        folder = find_model(name)
        config = read_config(folder)
        found.append(
            PackagedModel(
                name,
                config["tasks"],
                config["bridge"]["name"],
                config["network"]["name"],
                config["sampler"].get("steps"),
                (folder / WEIGHTS_FILE).stat().st_size / 1e6,
            )
        )
    return found


def info(options: InfoOptions) -> ModelReport:
    """Load a model and say what it is.

    Raises:
        ModelError: a model that cannot be loaded.
    """
    model = load_model(options.model)
    place = find_model(options.model)
    name, folder = model.info.name, str(place)
    if isinstance(model, TrainedModel):
        cost = networks.cost(model.network)
        config = read_config(place) if (place / CONFIG_FILE).is_file() else model.config
        return ModelReport(name, folder, model, model.parameters, cost.flops, cost.macs, config)
    process = model.process
    config = {"bridge": {"name": process.name, **process.params}, "sampler": dict(model.info.sampler)}
    return ModelReport(name, folder, model, model.parameters, config={**config, "tasks": model.tasks})
