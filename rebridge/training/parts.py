"""The parts of a run from its settings: what catalogues build, and first weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from torch import nn

from rebridge import networks
from rebridge.images.atomic import reason
from rebridge.images.regular import read_regular
from rebridge.models import ModelError
from rebridge.models.config import CONFIG_FILE, read_config
from rebridge.networks import Network
from rebridge.training.config_files import ConfigError, expand


def create(key: str, build: Callable[..., Any], what: Any, params: Mapping[str, Any] | None = None) -> Any:
    """Call `build(what, **params)`, with errors that name the key of the file."""
    try:
        return build(what, **(params or {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from None


def load_weights(network: nn.Module, source: Path | tuple[Path, ...] | None, key: str) -> None:
    """Load the weights that files have.

    Those that the files lack, such as those of added blocks, stay as they are.

    Raises:
        ConfigError: a file that cannot be read, or whose weights do not fit; names `key`.
    """
    own = network.config if isinstance(network, Network) else {}
    for path in source if isinstance(source, tuple) else (source,):
        if path is None:
            continue
        path = expand(path, key)
        if (path / CONFIG_FILE).is_file():
            _check_details(own, path, key)
        path = path / "model.safetensors" if path.is_dir() else path
        try:
            data, _ = read_regular(path, None, "a file of weights")
            weights = {name: value.float() for name, value in load_tensors(data).items()}
            if not weights:
                raise ValueError("it is empty")
            network.load_state_dict(network.state_dict() | weights)
        except Exception as error:  # safetensors has exceptions of its own for damaged files
            raise ConfigError(f"{key}: {path} does not hold the weights of this network: {reason(error)}") from None


def _check_details(own: Mapping[str, Any], folder: Path, key: str) -> None:
    """Raise ConfigError for a network with the same weights as in a model folder, and another `released`."""
    try:
        saved = networks.completed(read_config(folder)["network"])
    except ModelError as error:
        raise ConfigError(f"{key}: {error}") from None
    if saved["name"] == own.get("name") and saved.get("released") != own.get("released"):
        raise ConfigError(
            f"{key}: the network in {folder} has released={saved['released']}, and this one {own['released']}: give it the same"
        )
