"""Guidance: a conditional and an unconditional estimate combined."""

from __future__ import annotations

from torch import Tensor

from rebridge.denoisers.base import Denoiser, Estimate, as_estimate


class ClassifierFree:
    """Classifier-free guidance: x0 = without + scale (with - without).

    It takes two evaluations unless scale is 1.

    Args:
        conditional: the denoiser that sees y.
        unconditional: the one that does not.
        scale: 1 for no guidance.
    """

    def __init__(self, conditional: Denoiser, unconditional: Denoiser, scale: float) -> None:
        self.conditional = conditional
        self.unconditional = unconditional
        self.scale = scale

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Estimate:
        """Combine the two estimates for x_t, y (B, ...) and t (B,)."""
        known = as_estimate(self.conditional(x_t, t, y)).x0
        if self.scale == 1:
            return Estimate(known)
        free = as_estimate(self.unconditional(x_t, t, y)).x0
        return Estimate(free + self.scale * (known - free))
