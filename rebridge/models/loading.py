"""Find and load a model: packaged, on disk, on a hub, or in hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rebridge.bridges import Bridge
from rebridge.denoisers import Denoiser, NetworkDenoiser
from rebridge.denoisers.machine import prepare
from rebridge.denoisers.precision import device_of
from rebridge.models.base import DenoiserModel, Model, ModelError
from rebridge.models.diffusers import is_pipeline
from rebridge.models.formats import FORMATS, format_of
from rebridge.models.pipelines import of_pipeline
from rebridge.models.places import at_revision, find_model, needs_hub, packaged
from rebridge.models.trained import TrainedModel

DEFAULT_PRIOR = "pixel-prior-small"
PIPELINE_FILE = "model_index.json"


def load_model(
    name: str | Path, device: str | torch.device | None = None, revision: str | None = None, **options: Any
) -> Model:
    """Load a model by packaged name, folder, file or Hugging Face id.

    Args:
        name: what `rebridge models` lists, a path, or an id like "owner/model" or "owner/model@revision".
        device: by default a GPU where there is one, else the CPU.
        revision: branch, tag or commit on the hub.
        options: what the model's format takes, such as dtype and compile (all), network (a folder whose network is of a class of
            your own), condition and guidance (priors in pixels),
            controlnet and prompt (pipelines of diffusers).

    Raises:
        ModelError: an unknown name, a broken file, or an option that the format does not have; one sentence.
        ValueError: a device or dtype that does not exist.
    """
    place = device_of(device)
    if place.type == "cpu":
        prepare()
    title = str(name)
    name, revision = at_revision(name, revision)
    if _is_remote_pipeline(name):
        return FORMATS.create("diffusers").load(Path(str(name)), str(name), device=place, revision=revision, **options)
    folder = find_model(name, revision, options.get("task"))
    if folder == Path(os.path.expanduser(name)):
        title = os.path.basename(os.path.realpath(folder))
    return format_of(folder).load(folder, title, device=place, **options)


def load_prior(name: Any, *, device: str | torch.device | None = None, **options: Any) -> Model:
    """Load a generative prior by name, or take one in hand.

    Raises ModelError for any other model.
    """
    if isinstance(name, str | Path):
        model = load_model(name, device, **options)
    else:
        model = as_model(name, **options) if device is None else as_model(name, **options).to(device)
    if not model.process.generative:
        raise ModelError(
            f"model '{model.info.name}' restores along the bridge {model.process.name}; "
            "a prior needs vp, ve or rectified-flow"
        )
    return model


def as_model(source: Any, bridge: Bridge | None = None, **options: Any) -> Model:
    """Take what a user has as a model.

    Args:
        source: a model, a name or path, a pipeline of diffusers in hand, a `NetworkDenoiser`, a network, or any denoiser.
        bridge: the process of a network or a bare denoiser.
        options: of `load_model` for a name, of the model's class for an object.

    Raises:
        ModelError: a network or denoiser without a bridge, or an object that is none of these.
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, str | Path):
        return load_model(source, **options)
    if is_pipeline(source):
        return of_pipeline(source, **options)
    if isinstance(source, NetworkDenoiser):
        return TrainedModel(source, **options)
    if not callable(source):
        raise ModelError(
            f"{type(source).__name__} is no model: give a name, a folder, a pipeline, a network or a denoiser"
        )
    if bridge is None:
        raise ModelError("a network or denoiser in hand needs the bridge that it was trained on")
    if isinstance(source, nn.Module):
        return TrainedModel.of(source, bridge, **options)
    denoiser: Denoiser = source
    return DenoiserModel(denoiser, bridge, **options)


def _is_remote_pipeline(name: str | Path) -> bool:
    """Whether a name means a pipeline of diffusers on the hub rather than a model of ours."""
    if str(name) in packaged() or Path(os.path.expanduser(name)).exists() or "/" not in str(name):
        return False
    return not _hub_has_no_pipeline(str(name))


def _hub_has_no_pipeline(name: str) -> bool:
    """Whether the hub says that a repository exists and holds no pipeline; also where it cannot be reached."""
    needs_hub(f"model '{name}' is no folder here; downloading it")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        hf_hub_download(name, PIPELINE_FILE)
    except EntryNotFoundError:
        return True
    except (OSError, ValueError):
        return True
    return False
