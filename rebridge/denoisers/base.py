"""What a denoiser is: anything called as denoiser(x_t, t, y) that returns its estimate of the clean image."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Estimate(NamedTuple):
    """A clean estimate and, where the noise to reuse is not the one it implies, that noise.

    x0: (B, ...). noise: estimate of modulation * eps, or None to derive it from x0 as (x_t - alpha x0 - beta y) / gamma.
    """

    x0: Tensor
    noise: Tensor | None = None


class Denoiser(Protocol):
    """A trained network, an exact posterior, a pretrained prior, a guided model: all are denoisers."""

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor | Estimate:
        """Estimate x0 from the state x_t (B, ...) at times t (B,) in [0, 1] and the degraded image y (B, ...)."""
        ...


def as_estimate(result: Tensor | Estimate) -> Estimate:
    """The result of a denoiser in its general form."""
    return result if isinstance(result, Estimate) else Estimate(result)
