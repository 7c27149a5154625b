"""The degradations by name."""

from collections.abc import Callable

from rebridge.degradations.base import Degradation
from rebridge.degradations.exposure import LowLight
from rebridge.degradations.optics import Blur
from rebridge.degradations.sensor import Noise
from rebridge.degradations.weather import Haze, Rain, Snow

DEGRADATIONS: dict[str, type[Degradation]] = {
    "rain": Rain,
    "haze": Haze,
    "snow": Snow,
    "lowlight": LowLight,
    "blur": Blur,
    "noise": Noise,
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
    kind: Callable[..., Degradation] = DEGRADATIONS[task]
    allowed = DEGRADATIONS[task].parameters()
    for name in params:
        if name not in allowed:
            raise ValueError(f"{task} has no parameter {name!r}; it has {', '.join(allowed)}")
    return kind(**params)
