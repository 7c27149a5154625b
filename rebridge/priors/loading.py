"""Find a prior by name: one of our models with a generative bridge, or a diffusers pipeline; a folder or a hub id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rebridge import hub
from rebridge.hub.format import CONFIG_FILE
from rebridge.inference.restorer import device_of
from rebridge.priors.base import Prior, PriorError
from rebridge.priors.pixel import PixelPrior

PIPELINE_FILE = "model_index.json"
PIXEL_OPTIONS = ("condition", "guidance", "revision")
PIPELINE_OPTIONS = (
    "controlnet", "prompt", "negative_prompt", "guidance", "tiling", "attention_slicing", "cpu_offload", "variant", "revision",
)  # fmt: skip


def load_prior(
    name: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    **options: Any,
) -> Prior:
    """A packaged model, a model folder or hub id of rebridge, or a diffusers pipeline from a folder or hub id.

    device: by default a GPU where there is one. options: of `PixelPrior.from_pretrained` (condition, guidance) or of
    `rebridge.priors.diffusers.from_pretrained` (controlnet, guidance, tiling, ...). Raises PriorError or ModelError, one
    sentence that says what to do, and ValueError for a device that there is not.
    """
    place = device_of(device)
    pipeline = is_pipeline(name)
    known = PIPELINE_OPTIONS if pipeline else PIXEL_OPTIONS
    for key in options:
        if key not in known:
            what = "a diffusers pipeline" if pipeline else "no diffusers pipeline"
            raise PriorError(f"'{name}' is {what} and has no option {key}; it takes {', '.join(known)}")
    if pipeline:
        from rebridge.priors.diffusers import from_pretrained

        return from_pretrained(name, device=place, dtype=dtype, **options)
    return PixelPrior.from_pretrained(name, place, dtype=dtype, **options)


def is_pipeline(name: str | Path) -> bool:
    """Whether a name means a diffusers pipeline rather than a model of rebridge; what is neither counts as a pipeline."""
    folder = Path(name).expanduser()
    if str(name) in hub.packaged():
        return False
    if folder.is_dir():
        return (folder / PIPELINE_FILE).is_file() or not (folder / CONFIG_FILE).is_file()
    return "/" in str(name) and not _hub_has_no_pipeline(str(name))


def _hub_has_no_pipeline(name: str) -> bool:
    """Whether the hub says that a repository exists and holds no pipeline; False where it cannot be asked."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        hf_hub_download(name, PIPELINE_FILE)
    except LocalEntryNotFoundError:
        return False
    except EntryNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return False
