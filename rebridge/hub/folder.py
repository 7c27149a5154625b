"""Load and save a model folder: config.json, model.safetensors, README.md."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from rebridge import bridges, denoisers, networks
from rebridge.bridges import Bridge
from rebridge.files import reason, write_atomic
from rebridge.hub.card import card as model_card
from rebridge.hub.format import (
    CARD_FILE,
    CONFIG_FILE,
    FORMAT,
    WEIGHTS_FILE,
    ModelError,
    check_config,
    read_config,
    without_name,
)
from rebridge.hub.places import find_model


@dataclass(frozen=True)
class Model:
    """A trained denoiser with the bridge it was trained for and the sampler it is best used with.

    sampler_config: {"name": ..., **parameters} of `rebridge.samplers.create`. predictor: where the bridge starts from a
    prediction g(y) = predictor(y, 1, y) instead of y, the denoiser that makes it; else None.
    """

    name: str
    config: dict[str, Any]
    bridge: Bridge
    denoiser: denoisers.NetworkDenoiser
    sampler_config: dict[str, Any]
    predictor: denoisers.NetworkDenoiser | None = None

    @property
    def network(self) -> nn.Module:
        """The network inside the denoiser."""
        return self.denoiser.network

    @property
    def tasks(self) -> list[str]:
        """The degradations it was trained to remove."""
        return list(self.config["tasks"])

    @property
    def parameters(self) -> int:
        """Number of weights."""
        networks = [self.network] if self.predictor is None else [self.network, self.predictor]
        return sum(weight.numel() for network in networks for weight in network.parameters())

    def card(self) -> str:
        """The text of its model card."""
        return model_card(self.name, self.config, self.parameters)


def load_model(name: str | Path, device: str | torch.device = "cpu", revision: str | None = None) -> Model:
    """Load a model by packaged name, folder or Hugging Face id, ready for inference (eval mode, float32).

    Weights stored in half precision are widened. Raises ModelError, one sentence, for an unknown name, a broken
    config, truncated weights, or weights that do not fit the network.
    """
    folder = find_model(name, revision)
    config = read_config(folder)
    try:
        bridge = bridges.create(config["bridge"]["name"], **without_name(config["bridge"]))
        network = networks.create(config["network"]["name"], **without_name(config["network"]))
        scale = config.get("residual_scale", 1.0)
        denoiser = denoisers.NetworkDenoiser(network, bridge, prediction=config["prediction"], scale=scale)
        predictor = _predictor(config, bridge)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG_FILE} cannot be used: {error}") from error
    _load_weights(_state(network, predictor), folder / WEIGHTS_FILE, config.get("sha256"))
    for part in (denoiser, predictor):
        if part is not None:
            part.eval().requires_grad_(False).to(device)
    title = str(name) if folder != Path(name).expanduser() else folder.resolve().name
    return Model(title, config, bridge, denoiser, dict(config["sampler"]), predictor)


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
    """Write a model folder that `load_model` reads; a failure leaves no new folder and no half-written file.

    sampler: {"name": ..., **parameters}. training: free JSON-able metadata. card: text of README.md, by default made
    from the rest. dtype: torch.float16 halves the file. predictor: a network for `Model.predictor`, whose weights go into
    the same file. scale: of `NetworkDenoiser`. Files of a model that is already there are replaced one
    by one, the weights last but one and the config, which holds their checksum, last.
    """
    folder = Path(folder)
    if dtype not in (None, torch.float32, torch.float16, torch.bfloat16):
        raise ModelError(f"weights can be stored as float32, float16 or bfloat16, got {dtype}")
    weights = save_tensors(_stored(_state(network, predictor), dtype))
    config: dict[str, Any] = {
        "format": FORMAT,
        "bridge": {"name": bridge.name, **bridge.params},
        "network": dict(getattr(network, "config", {})),
        "prediction": prediction,
        "sampler": dict(sampler),
        "tasks": list(tasks),
        "training": dict(training or {}),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    if predictor is not None:
        config["predictor"] = {"network": dict(getattr(predictor, "config", {}))}
    if scale != 1:
        config["residual_scale"] = scale
    check_config(config)
    try:
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ModelError(f"the model's description is not JSON: {error}") from error
    parts = [network] if predictor is None else [network, predictor]
    parameters = sum(weight.numel() for part in parts for weight in part.parameters())
    readme = card if card is not None else model_card(folder.resolve().name, config, parameters)
    files = {CARD_FILE: readme.encode(), WEIGHTS_FILE: weights, CONFIG_FILE: text.encode()}
    try:
        _write_folder(folder, files)
    except OSError as error:
        raise ModelError(f"cannot save the model in {folder}: {reason(error)}") from error
    return folder


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    if folder.is_dir():
        for name, data in files.items():
            write_atomic(folder / name, data, overwrite=True)
        return
    if folder.exists():
        raise NotADirectoryError(f"{folder} is a file")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
    try:
        for name, data in files.items():
            write_atomic(partial / name, data)
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _predictor(config: dict[str, Any], bridge: Bridge) -> denoisers.NetworkDenoiser | None:
    if "predictor" not in config:
        return None
    described = config["predictor"]["network"]
    return denoisers.NetworkDenoiser(networks.create(described["name"], **without_name(described)), bridge, "residual")


def _state(network: nn.Module, predictor: nn.Module | None) -> dict[str, Tensor]:
    """The weights of a model folder by name, as they lie in the networks; those of the predictor begin with "predictor."."""
    if predictor is None:
        return network.state_dict()
    inner = predictor.network if isinstance(predictor, denoisers.NetworkDenoiser) else predictor
    return network.state_dict() | {f"predictor.{key}": value for key, value in inner.state_dict().items()}


def _stored(state: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    weights = {}
    for key, value in state.items():
        value = value.detach().to("cpu", dtype if dtype is not None and value.is_floating_point() else None)
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(f"the weight '{key}' contains NaN or infinite values; the model is not saved")
        weights[key] = value.clone(memory_format=torch.contiguous_format)
    return weights


def _load_weights(own: Mapping[str, Tensor], path: Path, sha256: str | None) -> None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path.parent} is not a model folder: it has no {WEIGHTS_FILE}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}") from error
    try:
        weights = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is damaged or incomplete; copy or download it again ({reason(error)})") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(
            f"{path} is not the file that {CONFIG_FILE} describes (wrong sha256); copy or download it again"
        )
    for problem, keys in (("lacks", own.keys() - weights.keys()), ("has the unknown", weights.keys() - own.keys())):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(
                f"{path} does not fit the network of {CONFIG_FILE}: it {problem} weight '{min(keys)}'{more}"
            )
    for key, value in weights.items():
        if value.shape != own[key].shape:
            raise ModelError(
                f"{path} does not fit the network of {CONFIG_FILE}: "
                f"'{key}' has shape {tuple(value.shape)}, the network needs {tuple(own[key].shape)}"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(f"{path} is damaged: the weight '{key}' contains NaN or infinite values")
    for key, value in weights.items():
        own[key].copy_(value)
