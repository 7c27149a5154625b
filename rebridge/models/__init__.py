"""Models: the protocol, places on disk and on hubs, loading and saving."""

from rebridge.models.base import DenoiserModel, Finding, Model, ModelError, ModelInfo, PixelSpace, Space
from rebridge.models.card import card
from rebridge.models.config import read_config
from rebridge.models.loading import DEFAULT_PRIOR, as_model, load_model, load_prior
from rebridge.models.places import find_model, packaged, push_model
from rebridge.models.trained import TrainedModel

__all__ = [
    "DEFAULT_PRIOR",
    "DenoiserModel",
    "Finding",
    "Model",
    "ModelError",
    "ModelInfo",
    "PixelSpace",
    "Space",
    "TrainedModel",
    "as_model",
    "card",
    "find_model",
    "load_model",
    "load_prior",
    "packaged",
    "push_model",
    "read_config",
]
