"""What comes in comes out: PIL images, arrays, tensors and image files to a batch in [0, 1] and back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from rebridge.images import Image, to_samples

OVERSHOOT = 0.2
"""How far outside [0, 1] a float image may reach, as interpolation leaves it; it is clamped."""


@dataclass(frozen=True)
class Batch:
    """Images as float32 (B, C, H, W) in [0, 1], C = 1 or 3, and the way back to what the caller passed.

    back(images) takes a tensor of the same shape on any device and returns the caller's type, dtype and layout, with
    alpha.
    """

    images: Tensor
    back: Callable[[Tensor], Any]


def to_batch(image: Any) -> Batch:
    """Convert what a user passes; TypeError or ValueError, one sentence, for anything that is no image.

    PIL image: L, LA, RGB, RGBA and I;16 keep their mode; 1 comes back as L, palette, CMYK and others as RGB or RGBA.
    numpy array: (H, W), (H, W, C) or (B, H, W, C) with C = 1, 2, 3, 4, of uint8, uint16 or floats in [0, 1].
    tensor: (C, H, W) or (B, C, H, W), of uint8 or floats in [0, 1]. The last of 2 or 4 channels is alpha and is kept.
    rebridge.images.Image: comes back with its metadata.
    """
    if isinstance(image, Image):
        batch = _from_planes(image.pixels[None], has_alpha=False)
        return Batch(batch.images, lambda restored: image.with_pixels(restored[0].detach().cpu()))
    if isinstance(image, PILImage.Image):
        return _from_pil(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Tensor):
        return _from_tensor(image)
    raise TypeError(
        f"an image must be a PIL image, a numpy array or a tensor, got {type(image).__name__}; "
        "files are read by rebridge.images.read_image"
    )


def _from_pil(image: PILImage.Image) -> Batch:
    if image.mode.startswith("I;16"):
        batch = _from_array(np.asarray(image).astype(np.uint16))
    elif image.mode in ("I", "F"):
        raise ValueError(f"a PIL image of mode {image.mode} has no fixed range; convert it to L, I;16 or RGB")
    else:
        grey = image.mode in ("1", "L", "LA", "La")
        mode = {(True, False): "L", (True, True): "LA", (False, False): "RGB", (False, True): "RGBA"}
        batch = _from_array(np.asarray(image.convert(mode[grey, image.has_transparency_data])))

    def back(restored: Tensor) -> PILImage.Image:
        result = PILImage.fromarray(batch.back(restored))
        result.info = {key: value for key, value in image.info.items() if key != "transparency"}
        return result

    return Batch(batch.images, back)


def _from_array(array: np.ndarray) -> Batch:
    if array.dtype not in (np.uint8, np.uint16) and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"an array must be of uint8, uint16 or floats, got {array.dtype}")
    if array.ndim not in (2, 3, 4) or (array.ndim > 2 and array.shape[-1] not in (1, 2, 3, 4)):
        hint = "; pass channels-first images as a tensor" if array.ndim > 2 and array.shape[-3] in (1, 3, 4) else ""
        raise ValueError(
            f"an array must be (H, W), (H, W, C) or (B, H, W, C) with 1 to 4 channels, got {array.shape}{hint}"
        )
    batched = array.reshape((1, *array.shape, 1)) if array.ndim == 2 else array.reshape((-1, *array.shape[-3:]))
    top = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(array.dtype, 1)
    planes = torch.from_numpy(np.ascontiguousarray(batched.transpose(0, 3, 1, 2), dtype=np.float32)) / top
    inner = _from_planes(planes, has_alpha=planes.shape[1] in (2, 4))

    def back(restored: Tensor) -> np.ndarray:
        planes = inner.back(restored).cpu()
        if top == 1:
            result = planes.permute(0, 2, 3, 1).numpy().astype(array.dtype)
        else:
            result = np.stack([to_samples(image, 8 * array.itemsize) for image in planes])
        return np.ascontiguousarray(result.reshape(array.shape))

    return Batch(inner.images, back)


def _from_tensor(tensor: Tensor) -> Batch:
    if tensor.ndim not in (3, 4) or tensor.shape[-3] not in (1, 2, 3, 4):
        raise ValueError(f"a tensor must be (C, H, W) or (B, C, H, W) with 1 to 4 channels, got {tuple(tensor.shape)}")
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise ValueError(f"a tensor must be of uint8 or floats, got {tensor.dtype}")
    top = 255 if tensor.dtype == torch.uint8 else 1
    planes = tensor.detach().reshape(-1, *tensor.shape[-3:]).float() / top
    inner = _from_planes(planes, has_alpha=planes.shape[1] in (2, 4))

    def back(restored: Tensor) -> Tensor:
        planes = inner.back(restored).reshape(tensor.shape)
        return (planes * top).round().to(tensor) if top == 255 else planes.to(tensor)

    return Batch(inner.images, back)


def _from_planes(planes: Tensor, has_alpha: bool) -> Batch:
    """Check values, set alpha aside."""
    if planes.numel() == 0:
        raise ValueError(f"the image has no pixels: shape {tuple(planes.shape)}")
    if not torch.isfinite(planes).all():
        raise ValueError("the image contains NaN or infinite values")
    low, high = planes.min().item(), planes.max().item()
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise ValueError(f"float images must lie in [0, 1], got values from {low:g} to {high:g}")
    colours = planes.shape[1] - 1 if has_alpha else planes.shape[1]
    alpha = planes[:, colours:]

    def back(restored: Tensor) -> Tensor:
        restored = restored.detach().float().clamp(0, 1)
        return torch.cat([restored, alpha.to(restored.device)], dim=1) if has_alpha else restored

    return Batch(planes[:, :colours].clamp(0, 1), back)
