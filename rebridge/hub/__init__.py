"""Models on disk and on the Hugging Face Hub: a folder with config.json, model.safetensors and a card."""

from rebridge.hub.card import card
from rebridge.hub.folder import Model, load_model, save_model
from rebridge.hub.format import ModelError, read_config
from rebridge.hub.places import find_model, packaged, push_model

__all__ = [
    "Model",
    "ModelError",
    "card",
    "find_model",
    "load_model",
    "packaged",
    "push_model",
    "read_config",
    "save_model",
]
