"""A denoiser that counts its evaluations (NFE) and reports them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rebridge.denoisers.base import Denoiser, Estimate


class Counted:
    """A denoiser that counts its evaluations and the images in them.

    Args:
        denoiser: what is counted.
        report: called after each evaluation with the object itself; raise from it to cancel.
    """

    def __init__(self, denoiser: Denoiser, report: Callable[[Counted], None] | None = None) -> None:
        self.denoiser = denoiser
        self.report = report
        self.calls = 0
        self.rows = 0
        """Images in all calls together: a call on a batch of 4 adds 4."""

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor | Estimate:
        """Estimate x0 from x_t (B, ...), t (B,) and y (B, ...)."""
        self.calls += 1
        self.rows += len(x_t)
        result = self.denoiser(x_t, t, y)
        if self.report is not None:
            self.report(self)
        return result
