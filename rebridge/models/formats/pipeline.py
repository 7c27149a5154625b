"""Pipelines of diffusers: folders and repositories with model_index.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from rebridge.models.base import Model
from rebridge.models.formats.base import Format


class DiffusersPipeline(Format):
    """Pipelines of Stable Diffusion 1.x, 2.x, XL, and of unconditional DDPM.

    Stable Diffusion comes with or without a ControlNet.
    """

    options: ClassVar[tuple[str, ...]] = (
        "dtype", "compile", "controlnet", "prompt", "negative_prompt", "guidance",
        "controlnet_conditioning_scale", "tiling", "attention_slicing", "cpu_offload", "variant", "revision",
    )  # fmt: skip
    what: ClassVar[str] = "a diffusers pipeline"

    def detect(self, path: Path) -> bool:
        """Return True for a folder with model_index.json."""
        return (path / "model_index.json").is_file()

    def read(self, path: Path, name: str, device: torch.device, **options: Any) -> Model:
        """Load the pipeline; see `rebridge.models.pipelines.load_pipeline`."""
        from rebridge.models.pipelines import load_pipeline

        return load_pipeline(path if path.exists() else name, device=device, **options)
