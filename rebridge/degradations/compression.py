"""JPEG: the real encoder, not a model of it."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rebridge.degradations.base import Degradation, Draw, Range
from rebridge.images import to_bytes


def through_jpeg(image: Tensor, quality: int) -> Tensor:
    """Write an image as JPEG and read it back.

    Args:
        image: (C, H, W) in [0, 1]; it is rounded to 8 bits.
        quality: of Pillow's encoder, with 4:2:0 colour.
    """
    pixels = to_bytes(image).permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    with io.BytesIO() as file:
        picture.save(file, format="JPEG", quality=quality, subsampling="4:2:0")
        with Image.open(file) as decoded:
            values = np.array(decoded, dtype=np.float32)
    return torch.from_numpy(values.reshape(pixels.shape)).permute(2, 0, 1) / 255


@dataclass(frozen=True)
class Jpeg(Degradation):
    """JPEG compression at a random quality, as Pillow does it."""

    quality: Range = (10.0, 40.0)
    """The encoder's quality, whole numbers in [1, 100]."""

    def __post_init__(self) -> None:
        self.limit(quality=(1, 100))

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        return through_jpeg(image, round(draw.uniform(self.quality)))
