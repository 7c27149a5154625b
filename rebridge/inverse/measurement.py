"""Measurements, and operators with their noise as text ("sr4", "noise@25")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rebridge.catalogue import Spec
from rebridge.inverse import operators
from rebridge.inverse.operators import Measures, Operator

LEVELS = 255.0


@dataclass(frozen=True)
class Measurement:
    """y = A x + sigma_y n of images x in [0, 1], for `Restorer(...)(measurement)`.

    Args:
        y: measurements (B, ...).
        operator: of `rebridge.inverse.operators`, or anything with deepinv's methods.
        sigma_y: standard deviation of the noise, in the units of y.
    """

    y: Tensor
    operator: Measures
    sigma_y: float = 0.0


@dataclass(frozen=True)
class OperatorSpec:
    """An operator with its noise, as text: "operator[:key=value,...][@noise]".

    Args:
        text: as written.
        name: of the operator.
        params: of the operator.
        sigma_y: standard deviation of the noise, for images in [0, 1].
    """

    text: str
    name: str
    params: dict[str, Any]
    sigma_y: float

    @classmethod
    def parse(cls, text: str) -> OperatorSpec:
        """Read "operator[:key=value,...][@noise]".

        The noise is its standard deviation in 8-bit levels.

        Raises:
            ValueError: the text has another form, or the operator is unknown.
        """
        front, at, noise = text.partition("@")
        spec = Spec.parse(front)
        operators.parameters(spec.name)
        try:
            sigma = float(noise) if at else 0.0
        except ValueError:
            sigma = -1.0
        if not 0 <= sigma < float("inf"):
            raise ValueError(f"after @ comes the noise's standard deviation in 8-bit levels, got {text!r}")
        if spec.name == "noise" and not at:
            raise ValueError("the operator noise needs its standard deviation in 8-bit levels, as noise@25")
        return cls(text, spec.name, spec.params, sigma / LEVELS)

    @property
    def pictured(self) -> bool:
        """False if measurements are known to be no pictures before A is built."""
        build = operators.OPERATORS[self.name]
        return not (isinstance(build, type) and issubclass(build, Operator)) or build.pictured

    def operator(self, shape: Sequence[int], **constants: Any) -> Operator:
        """Build the operator.

        Args:
            shape: (C, H, W) of the images.
            constants: tensors that a text cannot hold, such as mask or kernel.
        """
        return operators.create(self.name, shape, **{**self.params, **constants})

    def measure(self, operator: Operator, clean: Tensor, noise: Tensor) -> Tensor:
        """Measure clean images, y = A x + sigma_y noise.

        What is not measured has no noise either.

        Args:
            operator: made by `operator`.
            clean: images (B, C, H, W) in [0, 1].
            noise: standard normal, (B, *measurement_shape).

        Returns:
            Measurements (B, *measurement_shape).
        """
        y = operator.A(clean)
        if self.sigma_y > 0:
            y = y + self.sigma_y * noise
        return operator.restrict(y)
