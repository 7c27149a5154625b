"""Read and check a model's config.json.

    {"format": 1,
     "bridge": {"name": "rdbm", ...}, "network": {"name": "fast", ...}, "prediction": "x0",
     "sampler": {"name": "dbim", "steps": 10, ...},
     "tasks": ["rain", ...], "training": {...}, "sha256": "..."}

Names and parameters go to the `create` functions of bridges, networks and samplers; `training` is free metadata;
`sha256` is the checksum of model.safetensors, without which no model is loaded. A model whose bridge starts from a prediction
has "predictor": {"network": {"name": ..., ...}} too, one that is preconditioned for small residuals "residual_scale", and one
that samples in latents "autoencoder": {"name": ..., ...}. "clamp" false leaves estimates unclamped; "licence" and "source"
are sentences for people, "base_model" is the hub id of the model that the weights were made from.
"""

from pathlib import Path
from typing import Any

from rebridge.catalogue import type_in_words
from rebridge.images.documents import read_json
from rebridge.models.base import ModelError

MODEL_FORMAT = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
PRESET_FILE = "presets.json"
"""Settings by task that a generative prior brings along, see `rebridge tune`."""
FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, PRESET_FILE)
"""What may be in a model folder."""

_REQUIRED: dict[str, Any] = {"bridge": dict, "network": dict, "prediction": str, "sampler": dict}
_OPTIONAL: dict[str, Any] = {
    "tasks": list,
    "training": dict,
    "sha256": str,
    "predictor": dict,
    "autoencoder": dict,
    "residual_scale": (int, float),
    "clamp": bool,
    "licence": str,
    "base_model": str,
    "source": str,
}


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read the checked config.json of a model folder.

    Raises ModelError where it is missing, broken or from a newer rebridge.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        config = read_json(path)
    except FileNotFoundError:
        raise ModelError(f"{folder} is not a model folder: it has no {CONFIG_FILE}") from None
    except ValueError as error:
        raise ModelError(f"{path} {error}") from None
    check_config(config, path)
    return {"tasks": [], "training": {}, **config}


def check_config(config: Any, source: str | Path = CONFIG_FILE) -> None:
    """Raise ModelError, naming the key, unless a config has the right form."""
    if not isinstance(config, dict):
        raise ModelError(f"{source} must hold a JSON object, not {type_in_words(config)}")
    if config.get("format") != MODEL_FORMAT:
        found = config.get("format")
        raise ModelError(f"{source} has format {found!r}, but this version of rebridge reads format {MODEL_FORMAT}")
    for key, kind in (_REQUIRED | _OPTIONAL).items():
        if key not in config:
            if key in _REQUIRED:
                raise ModelError(f"{source} lacks the key '{key}'")
        elif not isinstance(config[key], kind):
            raise ModelError(f"{source}: '{key}' must be of type {_word(kind)}, got {type_in_words(config[key])}")
    if not all(isinstance(task, str) for task in config.get("tasks", [])):
        raise ModelError(f"{source}: 'tasks' must be a list of words")
    for key in ("bridge", "network", "sampler"):
        if not isinstance(config[key].get("name"), str):
            raise ModelError(f"{source}: '{key}' lacks a name")
    network = config.get("predictor", {}).get("network") if "predictor" in config else {"name": ""}
    if not isinstance(network, dict) or not isinstance(network.get("name"), str):
        raise ModelError(f"{source}: 'predictor' lacks a network with a name")


def _word(kind: Any) -> str:
    return "number" if isinstance(kind, tuple) else {"str": "text", "dict": "object"}.get(kind.__name__, kind.__name__)


def without_name(part: dict[str, Any]) -> dict[str, Any]:
    """The parameters of {"name": ..., **parameters}."""
    return {key: value for key, value in part.items() if key != "name"}
