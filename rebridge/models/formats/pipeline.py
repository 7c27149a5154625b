"""Pipelines of diffusers, and networks of diffusers alone, in folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from rebridge.images.documents import read_json
from rebridge.models.base import Model
from rebridge.models.config import CONFIG_FILE
from rebridge.models.formats.base import Format


class DiffusersPipeline(Format):
    """Pipelines of Stable Diffusion, of flow matching, and of unconditional DDPM.

    Stable Diffusion and FLUX come with or without a ControlNet.
    """

    options: ClassVar[tuple[str, ...]] = (
        "dtype", "compile", "controlnet", "prompt", "negative_prompt", "guidance",
        "controlnet_conditioning_scale", "control_guidance_start", "control_guidance_end", "lora", "lora_scale", "tiling",
        "attention_slicing", "cpu_offload", "variant", "revision",
    )  # fmt: skip
    what: ClassVar[str] = "a diffusers pipeline"

    def detect(self, path: Path) -> bool:
        """Return True for a folder with model_index.json."""
        return (path / "model_index.json").is_file()

    def read(self, path: Path, name: str, device: torch.device, **options: Any) -> Model:
        """Load the pipeline; see `rebridge.models.pipelines.load_pipeline`."""
        from rebridge.models.pipelines import load_pipeline

        return load_pipeline(path if path.exists() else name, device=device, **options)


class DiffusersUNet(Format):
    """A `UNet2DModel` alone, as a generative prior in pixels.

    Its schedule is that of scheduler_config.json in the same folder, or else DDPM's: 1000 linear steps.
    """

    options: ClassVar[tuple[str, ...]] = ("dtype", "compile", "prediction")
    what: ClassVar[str] = "a network of diffusers"

    def detect(self, path: Path) -> bool:
        """Return True for a folder whose config.json describes a `UNet2DModel`."""
        try:
            config = read_json(path / CONFIG_FILE)
        except (OSError, ValueError):
            return False
        return isinstance(config, dict) and config.get("_class_name") == "UNet2DModel"

    def read(self, path: Path, name: str, device: torch.device, **options: Any) -> Model:
        """Load the network; see `rebridge.models.pipelines.load_unet`."""
        from rebridge.models.pipelines import load_unet

        return load_unet(path, device=device, name=name, **options)
