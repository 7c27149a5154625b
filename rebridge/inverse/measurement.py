"""Measurements y = A x + noise, and operators with their noise as written on a command line ("sr4", "noise@25")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rebridge.catalogue import Spec
from rebridge.degradations.resampling import enlarge
from rebridge.inverse import operators
from rebridge.inverse.operators import Mask, Measures, Operator

LEVELS = 255.0
_SCALED = re.compile(r"(?:sr|average)(\d+)")
GREY = 0.5
"""What stands in a picture where a pixel is unknown; bridges are trained on such holes."""
NOT_PICTURES = ("cs", "radon")
"""Operators whose measurements are no pictures."""


@dataclass(frozen=True)
class Measurement:
    """y = A x + sigma_y n of images x in [0, 1], to be solved by `Restorer(...)(measurement)`.

    Attributes:
        y: measurements (B, ...).
        operator: of `rebridge.inverse.operators`, or anything with deepinv's methods.
        sigma_y: standard deviation of the noise, in the units of y.
    """

    y: Tensor
    operator: Measures
    sigma_y: float = 0.0


@dataclass(frozen=True)
class Task:
    """text: as written. sigma_y: of the noise, in units of [0, 1]. params: of the operator."""

    text: str
    name: str
    params: dict[str, Any]
    sigma_y: float

    @classmethod
    def parse(cls, text: str) -> Task:
        """Read "operator[:key=value,...][@noise]", the noise's standard deviation in 8-bit levels. ValueError if malformed."""
        front, at, noise = text.partition("@")
        spec = Spec.parse(front)
        operators.parameters(spec.name)
        try:
            sigma = float(noise) if at else 0.0
        except ValueError:
            sigma = -1.0
        if not 0 <= sigma < float("inf"):
            raise ValueError(f"after @ comes the noise's standard deviation in 8-bit levels, got {text!r}")
        return cls(text, spec.name, spec.params, sigma / LEVELS)

    @property
    def scale(self) -> int:
        """By how much a measured picture is smaller than the image."""
        found = _SCALED.fullmatch(self.name)
        return int(found[1]) if found else 1

    def operator(self, shape: Sequence[int], **constants: Any) -> Operator:
        """The operator for images of `shape` (C, H, W). constants: tensors, such as mask or kernel."""
        return operators.create(self.name, shape, **{**self.params, **constants})

    def measure(self, operator: Operator, clean: Tensor, noise: Tensor) -> Tensor:
        """y = A x + sigma_y noise for clean images (B, C, H, W) in [0, 1]; unknown pixels of a mask stay 0."""
        y = operator.A(clean)
        if self.sigma_y > 0:
            y = y + self.sigma_y * noise
        return operator.A(y) if isinstance(operator, Mask) else y


def picture(operator: Operator, y: Tensor, scale: int) -> Tensor | None:
    """Measurements (B, ...) as pictures (B, C, H, W) of the image's size in [0, 1]; None where they are none.

    scale: by how much they are smaller, `Task.scale`. Small pictures are enlarged by bicubic interpolation, grey ones are
    grey, unknown pixels middle grey; JPEG is decoded.
    """
    if operator.name in NOT_PICTURES:
        return None
    if isinstance(operator, Mask):
        y = y + GREY * (1 - operator.singular_values(y))
    if operator.name == "jpeg":
        return operator.A_dagger(y).clamp(0, 1)
    _, height, width = operator.shape
    if y.shape[-2:] != (height, width):
        y = torch.stack([enlarge(image, scale, height, width) for image in y])
    return y.expand(-1, operator.shape[0], -1, -1).clamp(0, 1)
