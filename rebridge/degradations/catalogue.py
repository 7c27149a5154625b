"""The degradations by name."""

import inspect
from collections.abc import Callable
from functools import partial

from rebridge.degradations.base import Degradation
from rebridge.degradations.compression import Jpeg
from rebridge.degradations.exposure import LowLight
from rebridge.degradations.masks import Inpaint
from rebridge.degradations.optics import Blur
from rebridge.degradations.raindrop import Raindrop
from rebridge.degradations.resampling import Downsampling
from rebridge.degradations.sensor import Noise
from rebridge.degradations.weather import Haze, Rain, Snow

DEGRADATIONS: dict[str, Callable[..., Degradation]] = {
    "rain": Rain,
    "haze": Haze,
    "snow": Snow,
    "raindrop": Raindrop,
    "lowlight": LowLight,
    "blur": Blur,
    "noise": Noise,
    "jpeg": Jpeg,
    "sr2": partial(Downsampling, 2),
    "sr4": partial(Downsampling, 4),
    "sr8": partial(Downsampling, 8),
    "inpaint": Inpaint,
}


def names() -> list[str]:
    """Names of all degradations."""
    return list(DEGRADATIONS)


def create(task: str, **params: object) -> Degradation:
    """The degradation called `task`, with its documented parameters; a range may be a number or a (low, high) pair.

    Raises ValueError for an unknown name or parameter or a value out of range, TypeError for a value of the wrong
    type.
    """
    if task not in DEGRADATIONS:
        raise ValueError(f"unknown degradation {task!r}; choose from {', '.join(DEGRADATIONS)}")
    allowed = inspect.signature(DEGRADATIONS[task]).parameters
    for name in params:
        if name not in allowed:
            raise ValueError(f"{task} has no parameter {name!r}; it has {', '.join(allowed)}")
    return DEGRADATIONS[task](**params)
