"""The nodes: load a model, say what ails a picture, restore, enlarge, fill what is masked.

In ComfyUI images are float tensors (B, H, W, C) in [0, 1], and masks (B, H, W) with 1 where they are painted. A node is a class
with `INPUT_TYPES`, `RETURN_TYPES`, `FUNCTION` and `CATEGORY`, and is called with one value for each input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rebridge.commands.findings import found_words
from rebridge.images import Image
from rebridge.models import Model, TrainedModel, load_model, packaged
from rebridge.restoration import Restorer
from rebridge.restoration.enlarging import enlarge_image
from rebridge.restoration.filling import INPAINT, fill_image

MODEL = "REBRIDGE_MODEL"
CATEGORY = "rebridge"
Inputs = dict[str, dict[str, tuple[Any, ...]]]


def to_planes(images: Tensor) -> Tensor:
    """Turn ComfyUI's images (B, H, W, C) into (B, 3, H, W); alpha is left out."""
    return images[..., :3].permute(0, 3, 1, 2).float().clamp(0, 1)


def to_comfy(images: Tensor) -> Tensor:
    """Turn images (B, 3, H, W) into ComfyUI's (B, H, W, 3)."""
    return images.permute(0, 2, 3, 1).contiguous().cpu()


class LoadModel:
    """A model, packaged or from a folder."""

    RETURN_TYPES = (MODEL,)
    FUNCTION = "load"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """Describe the inputs."""
        return {
            "required": {"model": (packaged(), {"default": "rdbm-small"})},
            "optional": {
                "folder": (
                    "STRING",
                    {"default": "", "tooltip": "A model folder or hub id, instead of a packaged one."},
                ),
                "device": (["auto", "cpu", "cuda", "mps"], {"default": "auto"}),
            },
        }

    def load(self, model: str, folder: str = "", device: str = "auto") -> tuple[Model]:
        """Load the model."""
        return (load_model(folder.strip() or model, device),)


class Inspect:
    """What ails a picture, in words."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "inspect"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """Describe the inputs."""
        return {"required": {"model": (MODEL,), "image": ("IMAGE",)}}

    def inspect(self, model: Model, image: Tensor) -> tuple[str]:
        """Say what is found in each picture, one line for each."""
        restorer = Restorer(model)
        return ("\n".join(found_words(restorer.examine(one[None])) for one in to_planes(image)),)


class Restore:
    """Restored pictures; with a mask only what it marks is changed."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "restore"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """Describe the inputs."""
        return {
            "required": {
                "model": (MODEL,),
                "image": ("IMAGE",),
                "strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.05}),
                "steps": ("INT", {"default": 0, "min": 0, "max": 1000, "tooltip": "0: what the model recommends."}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**63 - 1}),
            },
            "optional": {
                "task": (
                    "STRING",
                    {"default": "", "tooltip": "What to remove, as rain or haze+noise; empty: what is found."},
                )
            },
        }

    def restore(
        self, model: Model, image: Tensor, strength: float, steps: int, seed: int, task: str = ""
    ) -> tuple[Tensor]:
        """Restore pictures, all with one noise field."""
        if task.strip():
            if not isinstance(model, TrainedModel):
                raise ValueError(f"{model.info.name} cannot be told what to remove; leave the task empty")
            model = model.treating(task.strip().split("+"))
        restorer = Restorer(model)
        found = [
            restorer(one[None], strength=strength, steps=steps or None, seed=seed) for one in to_planes(image)
        ]  # one by one: batches of films would not fit into memory
        return (to_comfy(torch.cat(found)),)


class Enlarge:
    """Pictures two to four times as large, consistent with what they were."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "enlarge"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """Describe the inputs."""
        return {"required": {"image": ("IMAGE",), "by": ("INT", {"default": 2, "min": 2, "max": 4})}}

    def enlarge(self, image: Tensor, by: int) -> tuple[Tensor]:
        """Enlarge pictures."""
        return (to_comfy(torch.stack([enlarge_image(Image(one), by).pixels for one in to_planes(image)])),)


class Fill:
    """Pictures whose masked places are filled; the rest stays as it is."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "fill"
    CATEGORY = CATEGORY

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        """Describe the inputs."""
        return {"required": {"image": ("IMAGE",), "mask": ("MASK",)}, "optional": {"model": (MODEL,)}}

    def fill(self, image: Tensor, mask: Tensor, model: Model | None = None) -> tuple[Tensor]:
        """Fill each picture by its mask, or all by the only one."""
        draw = Restorer(model) if model is not None and INPAINT in model.tasks else None
        masks = mask.reshape(-1, *mask.shape[-2:]) >= 0.5
        found = [
            fill_image(Image(one), masks[min(number, len(masks) - 1)], draw).pixels
            for number, one in enumerate(to_planes(image))
        ]
        return (to_comfy(torch.stack(found)),)


NODE_CLASS_MAPPINGS: dict[str, type] = {
    "RebridgeLoadModel": LoadModel,
    "RebridgeInspect": Inspect,
    "RebridgeRestore": Restore,
    "RebridgeEnlarge": Enlarge,
    "RebridgeFill": Fill,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "RebridgeLoadModel": "Load rebridge model",
    "RebridgeInspect": "Inspect (rebridge)",
    "RebridgeRestore": "Restore (rebridge)",
    "RebridgeEnlarge": "Enlarge (rebridge)",
    "RebridgeFill": "Fill masked places (rebridge)",
}
