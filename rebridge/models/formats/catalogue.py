"""The formats by name, in the order in which they are tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rebridge.catalogue import Catalogue
from rebridge.models.base import Model, ModelError
from rebridge.models.config import CONFIG_FILE, WEIGHTS_FILE
from rebridge.models.formats.base import Format
from rebridge.models.formats.checkpoint import PublishedCheckpoint
from rebridge.models.formats.folder import RebridgeFolder
from rebridge.models.formats.pipeline import DiffusersPipeline, DiffusersUNet

FORMATS: Catalogue[Format] = Catalogue(
    "format",
    {
        "unet": DiffusersUNet,
        "rebridge": RebridgeFolder,
        "diffusers": DiffusersPipeline,
        "published": PublishedCheckpoint,
    },
)

names = FORMATS.names
register = FORMATS.register


def detect(path: str | Path) -> str | None:
    """The name of the format of a folder or file, or None."""
    return next((name for name in FORMATS if FORMATS.create(name).detect(Path(path))), None)


def format_of(path: Path) -> Format:
    """The format of a folder or file; ModelError where none is known."""
    name = detect(path)
    if name is not None:
        return FORMATS.create(name)
    if path.is_dir():
        raise ModelError(
            f"{path} is not a model folder: it has neither {CONFIG_FILE} and {WEIGHTS_FILE} (rebridge) nor "
            "model_index.json (diffusers)"
        )
    raise ModelError(
        f"{path} is a file of no known format ({', '.join(FORMATS)}); give the folder that holds {CONFIG_FILE} and "
        f"{WEIGHTS_FILE}"
    )


def load(path: str | Path, **options: Any) -> Model:
    """Load a folder or file of any known format; options as those of the format."""
    return format_of(Path(path)).load(Path(path), **options)
