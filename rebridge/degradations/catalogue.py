"""The degradations by name."""

from functools import partial

from rebridge.catalogue import Catalogue
from rebridge.degradations.base import Degradation
from rebridge.degradations.compression import Jpeg
from rebridge.degradations.exposure import LowLight
from rebridge.degradations.masks import Inpaint
from rebridge.degradations.optics import Blur
from rebridge.degradations.raindrop import Raindrop
from rebridge.degradations.resampling import Downsampling, LowResolution
from rebridge.degradations.sensor import GaussianNoise
from rebridge.degradations.weather import Haze, Rain, Snow

DEGRADATIONS: Catalogue[Degradation] = Catalogue(
    "degradation",
    {
        "rain": Rain,
        "haze": Haze,
        "snow": Snow,
        "raindrop": Raindrop,
        "lowlight": LowLight,
        "blur": Blur,
        "noise": GaussianNoise,
        "jpeg": Jpeg,
        "sr2": partial(Downsampling, 2),
        "sr3": partial(Downsampling, 3),
        "sr4": partial(Downsampling, 4),
        "sr8": partial(Downsampling, 8),
        "lowres": LowResolution,
        "inpaint": Inpaint,
    },
    checked=False,
)


create = DEGRADATIONS.create
names = DEGRADATIONS.names
parameters = DEGRADATIONS.parameters
summary = DEGRADATIONS.summary
parse = DEGRADATIONS.parse
register = DEGRADATIONS.register
