"""The interface of denoisers: denoiser(x_t, t, y) -> clean estimate."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

Progress = Callable[[int, int], None]
"""Called as progress(done, total) after evaluations; an exception from it ends the run."""


class Estimate(NamedTuple):
    """A clean estimate, with the noise to reuse where it is not the implied one.

    Attributes:
        x0: (B, ...).
        noise: estimate of modulation * eps, or None to derive it from x0 as (x_t - alpha x0 - beta y) / gamma.
    """

    x0: Tensor
    noise: Tensor | None = None


class Denoiser(Protocol):
    """Anything that estimates x0: a network, an exact posterior, a pretrained prior."""

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor, /) -> Tensor | Estimate:
        """Estimate x0.

        Args:
            x_t: states (B, ...).
            t: their times (B,) in [0, 1].
            y: degraded images (B, ...).
        """
        ...


def as_estimate(result: Tensor | Estimate) -> Estimate:
    """Convert the result of a denoiser to its general form."""
    return result if isinstance(result, Estimate) else Estimate(result)
