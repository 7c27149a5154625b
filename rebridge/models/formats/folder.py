"""Our own format: a folder with config.json, model.safetensors and a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from rebridge.models.base import Model
from rebridge.models.config import CONFIG_FILE, WEIGHTS_FILE
from rebridge.models.folder import load_folder
from rebridge.models.formats.base import Format


class RebridgeFolder(Format):
    """A folder that `Model.save_pretrained` or `rebridge train` wrote."""

    options: ClassVar[tuple[str, ...]] = ("dtype", "compile", "condition", "guidance", "network")
    what: ClassVar[str] = "no diffusers pipeline"

    def detect(self, path: Path) -> bool:
        """Return True for a folder with config.json or model.safetensors.

        A pipeline of diffusers is none.
        """
        if (path / "model_index.json").is_file():
            return False
        return (path / CONFIG_FILE).is_file() or (path / WEIGHTS_FILE).is_file()

    def read(self, path: Path, name: str, device: torch.device, **options: Any) -> Model:
        """Load the folder; see `load_folder`."""
        return load_folder(path, name, device, **options)
