"""Read and write a model folder: config.json, model.safetensors, README.md."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rebridge import bridges, networks, samplers
from rebridge.bridges import Bridge
from rebridge.catalogue import shortened
from rebridge.denoisers import NetworkDenoiser
from rebridge.denoisers.precision import AUTO_DTYPE, dtype_of
from rebridge.images.atomic import reason, remove_leftovers, temporary_folder, write_atomic
from rebridge.models.autoencoders import Autoencoder, build_autoencoder
from rebridge.models.base import ModelError
from rebridge.models.card import card as model_card
from rebridge.models.config import (
    CARD_FILE,
    CONFIG_FILE,
    MODEL_FORMAT,
    PRESET_FILE,
    WEIGHTS_FILE,
    check_config,
    read_config,
    without_name,
)
from rebridge.models.trained import TrainedModel, declared
from rebridge.models.weights import (
    PREVIOUS_FILE,
    StoredWeights,
    Unfilled,
    check_weights,
    checksum,
    fill,
    mapped_weights,
    pieces,
    state_of,
)
from rebridge.networks.catalogue import NETWORKS
from rebridge.networks.spandrel import SPANDREL, SpandrelRestorer

_PUBLISHED = "published/"
"""Beginning of the names of networks of published checkpoints."""


def load_folder(
    folder: Path, name: str, device: str | torch.device = "cpu", network: nn.Module | None = None, **options: Any
) -> TrainedModel:
    """Load a model folder, ready for inference (eval mode).

    Weights stored in half precision are widened to float32, except those of published checkpoints in bfloat16, which run
    in it and stay as small as they are.

    Args:
        folder: holds config.json and model.safetensors.
        name: for messages and the card.
        device: where the weights go.
        network: takes the weights, where the folder's network is of a class that the catalogue does not know.
        options: dtype, compile, condition and guidance of `TrainedModel`.

    Raises:
        ModelError: a broken config, truncated weights, or weights that do not fit the network; one sentence.
    """
    config = read_config(folder)
    weights = mapped_weights(folder / WEIGHTS_FILE, config.get("sha256"))
    try:
        bridge = bridges.create(config["bridge"]["name"], **without_name(config["bridge"]))
        with Unfilled():  # a config may describe more than the file holds: that is said before memory is taken
            network = create_network(config["network"]) if network is None else network
            predictor = _predictor(config, bridge)
            autoencoder = _autoencoder(config)
        parts = _parts(network, predictor, autoencoder)
        check_weights(state_of(parts), weights, folder / WEIGHTS_FILE)
        _check_signed(config, folder)
        role = {"scale": config.get("residual_scale"), "clamp": config.get("clamp", True)}
        denoiser = NetworkDenoiser(network, bridge, prediction=config["prediction"], **role)
    except ModelError:
        raise
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AttributeError, LookupError) as error:
        raise ModelError(f"{folder / CONFIG_FILE} cannot be used: {reason(error)}") from error
    fill(parts, weights)
    wide = options.get("dtype") not in (None, AUTO_DTYPE) and dtype_of(options["dtype"]) == torch.float32
    for part in (denoiser, predictor, autoencoder):
        if part is not None:
            part.eval().requires_grad_(False).to(device, torch.float32 if wide else None)
            if not bridge.generative and autoencoder is None:  # others keep the layout in which their figures were made
                part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    presets = folder / PRESET_FILE
    if declared(network)["optional_condition"] and not _saw_conditions(config):
        options = {"condition": False, **options}
    return TrainedModel(
        denoiser,
        name=name,
        sampler=config["sampler"],
        tasks=config["tasks"],
        predictor=predictor,
        training=config["training"],
        presets=presets if presets.is_file() else None,
        licence=config.get("licence"),
        source=config.get("source"),
        base_model=config.get("base_model"),
        autoencoder=autoencoder,
        **options,
    )


def _saw_conditions(config: Mapping[str, Any]) -> bool:
    """Test if a generative network was trained with degraded images; published priors were not."""
    states = config["training"].get("states")
    always_dropped = isinstance(states, Mapping) and states.get("condition_dropout") == 1
    return not (always_dropped or config["network"]["name"].startswith(_PUBLISHED))


def save_folder(
    model: TrainedModel, folder: str | Path, *, dtype: torch.dtype | None = None, card: str | None = None
) -> Path:
    """Write a model folder that `load_folder` reads.

    A failure leaves no new folder and no half-written file.

    Files of a model that is already there are replaced one by one, and at every moment the folder loads: until the config, which
    holds the checksum of the weights, is replaced too, the earlier weights are kept beside the new ones.

    Args:
        model: what is saved; a compiled network is saved as the network it was made of.
        folder: is created where it is missing.
        dtype: of the stored weights; torch.float16 halves the file.
        card: text of README.md, by default made from the rest.

    Raises:
        ModelError: whatever would keep the folder from being loaded again, or a disk that refuses.
    """
    folder = Path(folder)
    config = describe_model(model)
    check_config(config, "the model")
    _check_parts(model, config)
    readme = (
        card if card is not None else model_card(os.path.basename(os.path.realpath(folder)), config, model.parameters)
    )
    weights = StoredWeights(state_of(_parts(model.network, model.predictor_network, model.autoencoder)), dtype)
    config["sha256"] = weights.sha256()
    try:
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ModelError(f"the model's description is not JSON: {error}") from error
    files: dict[str, bytes | Iterable[bytes]] = {
        CARD_FILE: readme.encode(),
        WEIGHTS_FILE: weights,
        CONFIG_FILE: text.encode(),
    }
    if model.info.presets is not None:
        files = {PRESET_FILE: model.info.presets.read_bytes(), **files}
    try:
        _write_folder(folder, files)
    except OSError as error:
        raise ModelError(f"cannot save the model in {folder}: {reason(error)}") from error
    return folder


def describe_model(model: TrainedModel) -> dict[str, Any]:
    """The content of a model's config.json, without the checksum."""
    bridge = model.process
    config: dict[str, Any] = {
        "format": MODEL_FORMAT,
        "bridge": {"name": bridge.name, **bridge.params},
        "network": network_config(model.network),
        "prediction": model.denoiser.prediction,
        "sampler": dict(model.info.sampler),
        "tasks": list(model.info.tasks),
        "training": model.training,
    }
    if model.predictor_network is not None:
        config["predictor"] = {"network": network_config(model.predictor_network)}
    if model.autoencoder is not None:
        config["autoencoder"] = dict(model.autoencoder.config)
    if model.denoiser.scale != 1 or model.denoiser.prediction == "ddbm":
        config["residual_scale"] = model.denoiser.scale
    if not model.denoiser.clamp:
        config["clamp"] = False
    about = {"licence": model.info.licence, "source": model.info.source, "base_model": model.info.base_model}
    for key, value in about.items():
        if value is not None:
            config[key] = value
    return config


def create_network(described: Mapping[str, Any]) -> networks.Network:
    """Build the network that a config describes, a published one too.

    Raises:
        ValueError: an unknown name, or parameters that do not fit.
    """
    if described["name"] == SPANDREL:
        return SpandrelRestorer(**without_name(dict(described)))
    if str(described["name"]).startswith(_PUBLISHED):
        from rebridge.models.formats.published.catalogue import build

        with torch.device("meta"):  # the weights are mapped from a file
            return build(described)
    if "class" in described:
        name = described["name"]
        if name not in networks.names():
            # nothing is imported by what a file says: the class could be anything
            raise ModelError(
                f"the network is of the class {shortened(described['class'])}, which is not in the catalogue: load it with "
                f"network={name}(...), or register it with rebridge.networks.register({name!r}, {name})"
            )
        return networks.create(name)
    return networks.rebuild(described)


def network_config(network: nn.Module) -> dict[str, Any]:
    """The name and parameters of a network of the catalogue.

    Of another one its class is noted, for the person who loads it: the weights alone do not say how it is built.

    Raises ModelError where its class has the name of another network.
    """
    config = dict(network.config) if isinstance(network, networks.Network) else {}
    if config:
        return config
    kind = type(network)
    named = NETWORKS[kind.__name__] if kind.__name__ in NETWORKS else kind  # noqa: SIM401  (a catalogue has no get)
    if isinstance(named, type) and named is not kind:
        raise ModelError(
            f"the network {kind.__name__} is not in the catalogue, where another has its name: register it with "
            "rebridge.networks.register(name, build) and make it with rebridge.networks.create(name, ...)"
        )
    return {"name": kind.__name__, "class": f"{kind.__module__}:{kind.__qualname__}"}


def _check_parts(model: TrainedModel, config: Mapping[str, Any]) -> None:
    """Raise ModelError for parts that loading would refuse: network, sampler and bridge are made once more, from the config."""
    try:
        bridge = bridges.create(config["bridge"]["name"], **without_name(config["bridge"]))
        samplers.create(config["sampler"]["name"], **without_name(config["sampler"])).check(bridge)
        if "class" in config["network"]:
            return
        with torch.device("meta"):
            network = create_network(config["network"])
    except (TypeError, ValueError) as error:
        raise ModelError(f"the model could not be loaded again: {error}") from error
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in model.network.state_dict().items()}
    if wanted != found:
        odd = min({*wanted.items()} ^ {*found.items()})[0]
        raise ModelError(f"the network is not the one that its config describes: they differ in the weight '{odd}'")


def _write_folder(folder: Path, files: dict[str, bytes | Iterable[bytes]]) -> None:
    if folder.is_dir():
        remove_leftovers(folder)
        _replace_files(folder, files)
        return
    if folder.exists():
        raise NotADirectoryError(f"{folder} is a file")
    with temporary_folder(folder) as partial:
        for name, data in files.items():
            write_atomic(partial / name, data)
        os.rename(partial, folder)


def _replace_files(folder: Path, files: dict[str, bytes | Iterable[bytes]]) -> None:
    """Replace the files of a model so that the folder loads at every moment; a failure leaves the model that was there."""
    earlier, previous = folder / WEIGHTS_FILE, folder / PREVIOUS_FILE
    if earlier.is_file() and (folder / CONFIG_FILE).is_file() and not previous.exists():
        write_atomic(previous, pieces(earlier))
    try:
        write_atomic(earlier, files[WEIGHTS_FILE], overwrite=True)
        write_atomic(folder / CONFIG_FILE, files[CONFIG_FILE], overwrite=True)
    except OSError:
        if previous.exists():
            os.replace(previous, earlier)
        raise
    for name, data in files.items():
        if name not in (WEIGHTS_FILE, CONFIG_FILE):
            write_atomic(folder / name, data, overwrite=True)
    previous.unlink(missing_ok=True)


def _predictor(config: dict[str, Any], bridge: Bridge) -> NetworkDenoiser | None:
    if "predictor" not in config:
        return None
    return NetworkDenoiser(create_network(config["predictor"]["network"]), bridge, "residual")


def _autoencoder(config: dict[str, Any]) -> Autoencoder | None:
    if "autoencoder" not in config:
        return None
    with torch.device("meta"):
        return build_autoencoder(config["autoencoder"])


def _parts(
    network: nn.Module, predictor: nn.Module | None, autoencoder: Autoencoder | None
) -> dict[str, nn.Module | None]:
    """The modules of a model folder by the beginning of their weights' names."""
    inner = predictor.network if isinstance(predictor, NetworkDenoiser) else predictor
    return {"": network, "predictor.": inner, "autoencoder.": autoencoder}


def _check_signed(config: Mapping[str, Any], folder: Path) -> None:
    """Raise ModelError, with what to add, for a config without the checksum of its weights."""
    if "sha256" not in config:
        found = checksum(folder / WEIGHTS_FILE)
        raise ModelError(
            f"{folder / CONFIG_FILE} has no checksum of {WEIGHTS_FILE}, as earlier releases wrote it; if you trust the "
            f'file, add "sha256": "{found}" to it'
        )
