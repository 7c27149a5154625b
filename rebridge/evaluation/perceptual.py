"""Perceptual metrics of pyiqa where it is installed: LPIPS, NIQE, MUSIQ and others by their names there.

pyiqa needs torchvision and downloads weights at first use, so it is an extra: pip install "rebridge[metrics]". Its licence is
non-commercial.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from rebridge.images import quantise

DEFAULT = ("lpips", "niqe")

Metric = Callable[[Tensor, Tensor], float]


def available() -> bool:
    """Whether pyiqa can be imported."""
    try:
        import pyiqa  # noqa: F401
    except (ImportError, RuntimeError, OSError):  # a broken torchvision raises any of these
        return False
    return True


def perceptual_metric(name: str) -> Metric:
    """A metric of pyiqa as a function of restored and clean images, each (B, 3, H, W) in [0, 1], 8-bit rounded: their mean.

    Metrics without a reference do not look at the clean image. Raises ValueError where pyiqa is missing or has no such metric.
    """
    if not available():
        raise ValueError(f'the metric {name} needs pyiqa: pip install "rebridge[metrics]"')
    import pyiqa

    if name not in pyiqa.list_models():
        raise ValueError(f"pyiqa has no metric '{name}'; see pyiqa.list_models()")
    metric: Any = pyiqa.create_metric(name)

    def measure(restored: Tensor, clean: Tensor) -> float:
        images = [quantise(restored)] if metric.metric_mode == "NR" else [quantise(restored), quantise(clean)]
        return float(metric(*images).mean())

    return measure
