"""Protocols of scoring: one for all figures of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from rebridge.evaluation.metrics import Channel, Window, psnr, ssim
from rebridge.evaluation.perceptual import Metric, perceptual_metric
from rebridge.evaluation.tables import Column


@dataclass(frozen=True)
class Scoring:
    """A protocol of evaluation.

    Args:
        channel: "rgb", "y" for luma, or "y-matlab" for luma in whole levels.
        border: pixels cut off at each side; papers on super-resolution cut the scale, GOUB and IR-SDE 4.
        window: of SSIM, "gaussian" (Wang et al. 2004) or "uniform" (scikit-image's default).
        truncate: cut levels down instead of rounding them.
        metrics: further ones of pyiqa, "lpips", "niqe", ..., over the whole images.
    """

    channel: Channel = "rgb"
    border: int = 0
    window: Window = "gaussian"
    truncate: bool = False
    metrics: Sequence[str] = ()

    def pair(self, restored: Tensor, clean: Tensor) -> tuple[float, float]:
        """Compute PSNR in dB and SSIM of one image (1, C, H, W) in [0, 1]."""
        quality = psnr(restored, clean, self.channel, border=self.border, truncate=self.truncate)
        likeness = ssim(restored, clean, self.channel, border=self.border, truncate=self.truncate, window=self.window)
        return float(quality), float(likeness)

    def further(self, restored: Tensor, clean: Tensor) -> dict[str, float]:
        """Compute the further metrics, by name."""
        return {name: metric(restored, clean) for name, metric in self._measures.items()}

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the further metrics."""
        return tuple(Column(name, name.upper(), ".4f") for name in self.metrics)

    @cached_property
    def _measures(self) -> dict[str, Metric]:
        return {name: perceptual_metric(name) for name in self.metrics}
