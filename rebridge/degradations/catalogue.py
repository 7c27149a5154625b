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
from rebridge.names import check_name, check_parameters

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
    check_name("degradation", task, DEGRADATIONS)
    check_parameters(f"degradation {task!r}", params, inspect.signature(DEGRADATIONS[task]).parameters)
    return DEGRADATIONS[task](**params)
