"""Commands `models` and `info`: the packaged models, and one model in detail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rebridge import bridges, networks
from rebridge.commands.options import InfoOptions
from rebridge.models import Model, TrainedModel, find_model, load_model, packaged, read_config
from rebridge.models.config import CONFIG_FILE, WEIGHTS_FILE
from rebridge.models.formats.published.checkpoints import PUBLISHED, Published
from rebridge.networks.catalogue import NETWORKS
from rebridge.networks.conditions import listed


@dataclass(frozen=True)
class PackagedModel:
    """One packaged model.

    Attributes:
        name: to load it by.
        tasks: degradations that it removes.
        bridge, network: names.
        steps: of its recommended sampler.
        megabytes: of its weights.
        told: whether it can be told what to remove.
    """

    name: str
    tasks: list[str]
    bridge: str
    network: str
    steps: int | None
    megabytes: float
    told: bool = False

    @cached_property
    def method(self) -> str:
        """The method of `restore` that it is for: "irbridge" or "bridge"."""
        return "irbridge" if bridges.create(self.bridge).generative else "bridge"

    @property
    def row(self) -> dict[str, str]:
        """Its line in a table."""
        return {
            "model": self.name,
            "removes": ", ".join(self.tasks),
            "bridge": self.bridge,
            "network": self.network,
            "steps": str(self.steps),
            "MB": f"{self.megabytes:.1f}",
        }


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

    @property
    def record(self) -> dict[str, Any]:
        """All of it in plain data, as JSON takes it."""
        about = {"name": self.name, "folder": self.folder, "parameters": self.parameters}
        return {**about, "flops_256x256": self.flops, **self.config}

    @property
    def facts(self) -> dict[str, str]:
        """Sum up the model, one text by name."""
        config = self.config
        found = {"model": self.name, "folder": self.folder, "removes": ", ".join(self.model.tasks) or "not stated"}
        found |= {part: described(config[part]) for part in ("bridge", "network", "sampler") if part in config}
        if "predictor" in config:
            found["starts from"] = described(config["predictor"]["network"])
        if self.model.info.conditions:
            found["conditions"] = listed(self.model.info.conditions)
        if "prediction" in config:
            found["prediction"] = str(config["prediction"])
        found["parameters"] = f"{self.parameters:,}"
        if self.flops is not None and self.macs is not None:
            found["one call, 256x256"] = f"{self.flops / 1e9:.2f} GFLOP ({self.macs / 1e9:.2f} GMAC)"
        return found | {f"training: {key}": str(value) for key, value in config.get("training", {}).items()}


def list_models() -> list[PackagedModel]:
    """List the models that come with rebridge."""
    return [model_summary(name) for name in packaged()]


def model_summary(model: str) -> PackagedModel:
    """Sum up a model by its folder, without loading it.

    Args:
        model: name, folder or hub id of a model of rebridge.

    Raises:
        ModelError: no such model.
    """
    folder = find_model(model)
    config = read_config(folder)
    name = config["network"]["name"]
    network = NETWORKS[name] if name in NETWORKS else None  # noqa: SIM401
    return PackagedModel(
        folder.name,
        config["tasks"],
        config["bridge"]["name"],
        config["network"]["name"],
        config["sampler"].get("steps"),
        (folder / WEIGHTS_FILE).stat().st_size / 1e6,
        isinstance(network, type) and issubclass(network, networks.Network) and network.told,
    )


def list_published() -> list[Published]:
    """List the checkpoints that authors have published, and how to convert them."""
    return list(PUBLISHED)


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


def described(part: Mapping[str, Any]) -> str:
    """Write a part and its parameters as "name (key=value, ...)"."""
    params = ", ".join(f"{key}={value}" for key, value in part.items() if key != "name")
    return f"{part['name']} ({params})" if params else str(part["name"])
