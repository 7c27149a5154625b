"""Perceptual metrics of pyiqa: LPIPS, NIQE, MUSIQ and others, by name.

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
    """Return True where pyiqa can be imported."""
    try:
        import pyiqa  # noqa: F401
    except (ImportError, RuntimeError, OSError):  # a broken torchvision raises any of these
        return False
    return True


def perceptual_metric(name: str) -> Metric:
    """Make a metric of pyiqa a function of restored and clean images.

    Images are (B, 3, H, W) in [0, 1] and rounded to 8 bits; the result is the mean over them.

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
