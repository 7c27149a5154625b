"""Users' images as batches in [0, 1], and back in the type that came in.

PIL images, arrays, tensors and image files.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from rebridge.images.image import Image, to_samples
from rebridge.images.transparency import fill_hidden

OVERSHOOT = 0.2
"""How far outside [0, 1] a float image may reach, as interpolation leaves it; it is clamped."""


@dataclass(frozen=True)
class Batch:
    """Images as a batch, and the way back to what the caller passed.

    Attributes:
        images: float32 (B, C, H, W) in [0, 1]; C = 1 or 3 unless other channels were asked for.
        back: takes a tensor of the same shape on any device and returns the caller's type, dtype and layout, with alpha.
    """

    images: Tensor
    back: Callable[[Tensor], Any]


def to_batch(image: Any, channels: int | None = None) -> Batch:
    """Convert an image that a user passes.

    Args:
        image: one of
            PIL image: L, LA, RGB, RGBA and I;16 keep their mode; 1 comes back as L, palette, CMYK and others as RGB or RGBA.
            numpy array: (H, W), (H, W, C) or (B, H, W, C) with C = 1, 2, 3, 4, of uint8, uint16 or floats in [0, 1].
            tensor: (C, H, W) or (B, C, H, W), of uint8 or floats in [0, 1]. The last of 2 or 4 channels is alpha and is kept.
            rebridge.images.Image: comes back with its metadata.
            Arrays and tensors of `channels` channels have no alpha, whatever their number.
            Pixels of alpha 0 get the colour of the nearest one that can be seen, so that no hidden colour reaches the others.

        channels: of the images that are wanted, where that is known: such as 2 or 6 of data that are no pictures.

    Raises:
        TypeError: another type.
        ValueError: values or a shape that are no image.
    """
    if isinstance(image, Image):
        planes = _checked(image.visible_pixels)
        return Batch(planes, lambda restored: image.with_pixels(restored[0].detach().cpu()))
    if isinstance(image, PILImage.Image):
        return _from_pil(image)
    if isinstance(image, np.ndarray):
        return _from_array(image, channels)
    if isinstance(image, Tensor):
        return _from_tensor(image, channels)
    raise TypeError(
        f"an image must be a PIL image, a numpy array or a tensor, got {type(image).__name__}; "
        "files are read by rebridge.images.read_image"
    )


def quantise(images: Tensor) -> Tensor:
    """Round images of any shape in [0, 1] to the 256 values of 8-bit files."""
    return images.clamp(0, 1).mul(255).round().div(255)


def to_bytes(images: Tensor) -> Tensor:
    """Convert images of any shape in [0, 1] to uint8, rounded to nearest."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


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


def _from_array(array: np.ndarray, channels: int | None = None) -> Batch:
    if not array.dtype.isnative:  # as readers of TIFF files give them
        native = _from_array(array.astype(array.dtype.newbyteorder("=")), channels)
        return Batch(native.images, lambda restored: native.back(restored).astype(array.dtype))
    if array.dtype not in (np.uint8, np.uint16) and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"an array must be of uint8, uint16 or floats, got {array.dtype}")
    if array.ndim not in (2, 3, 4) or (array.ndim > 2 and array.shape[-1] not in (1, 2, 3, 4, channels)):
        hint = "; pass channels-first images as a tensor" if array.ndim > 2 and array.shape[-3] in (1, 3, 4) else ""
        raise ValueError(
            f"an array must be (H, W), (H, W, C) or (B, H, W, C) with 1 to 4 channels, got {array.shape}{hint}"
        )
    colours = _colours(array.shape[-1], channels) if array.ndim > 2 else 1
    batched = array.reshape((*array.shape, 1)) if array.ndim == 2 else array[..., :colours]
    top = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(array.dtype, 1)
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(batched, -1, -3), dtype=np.float32)) / top
    if array.ndim > 2 and colours < array.shape[-1]:
        hidden = torch.from_numpy(np.moveaxis(array[..., colours:] != 0, -1, -3).astype(np.float32))
        planes = fill_hidden(planes, hidden)

    def back(restored: Tensor) -> np.ndarray:
        images = restored.detach().float().clamp(0, 1).cpu()
        if top == 1:
            result = images.permute(0, 2, 3, 1).numpy().astype(array.dtype)
        else:
            result = np.stack([to_samples(image, 8 * array.itemsize) for image in images])
        result = result.reshape(batched.shape)
        if array.ndim == 2:
            return result[..., 0].copy()
        return np.concatenate([result, array[..., colours:]], axis=-1)

    return Batch(_checked(planes), back)


def _from_tensor(tensor: Tensor, channels: int | None = None) -> Batch:
    if tensor.layout != torch.strided or tensor.is_meta:
        raise ValueError(f"a tensor must hold its values, got one {'on meta' if tensor.is_meta else 'that is sparse'}")
    if tensor.ndim not in (3, 4) or tensor.shape[-3] not in (1, 2, 3, 4, channels):
        raise ValueError(f"a tensor must be (C, H, W) or (B, C, H, W) with 1 to 4 channels, got {tuple(tensor.shape)}")
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise ValueError(f"a tensor must be of uint8 or floats, got {tensor.dtype}")
    top = 255 if tensor.dtype == torch.uint8 else 1
    colours = _colours(tensor.shape[-3], channels)
    planes, alpha = tensor.detach().split([colours, tensor.shape[-3] - colours], dim=-3)

    def back(restored: Tensor) -> Tensor:
        result = restored.detach().float().clamp(0, 1).reshape(planes.shape)
        return torch.cat([((result * top).round() if top == 255 else result).to(alpha), alpha], dim=-3)

    visible = planes.float() / top
    return Batch(_checked(fill_hidden(visible, alpha) if alpha.shape[-3] else visible), back)


def _colours(channels: int, wanted: int | None) -> int:
    """1 of 1 or 2 channels, 3 of 3 or 4: the last of an even number is alpha, unless so many are wanted."""
    return channels if channels == wanted or channels % 2 else channels - 1


def _checked(planes: Tensor) -> Tensor:
    """Return colours ([B, ]C, H, W) as a clamped batch.

    Raises ValueError for values that are no image.
    """
    if planes.numel() == 0:
        raise ValueError(f"the image has no pixels: shape {tuple(planes.shape)}")
    low, high = (value.item() for value in torch.aminmax(planes))
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("the image contains NaN or infinite values")
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise ValueError(f"float images must lie in [0, 1], got values from {low:g} to {high:g}")
    batch = planes.reshape(-1, *planes.shape[-3:])
    return batch if low >= 0 and high <= 1 else batch.clamp(0, 1)
