"""Samplers: rules that lead from the degraded image to the clean one.

Each of them works with any bridge and any denoiser that it fits.
"""

from rebridge.catalogue import Spec
from rebridge.samplers.base import Point, Sampler, Walk
from rebridge.samplers.catalogue import create, names, parameters, parse, recommended, register, summary
from rebridge.samplers.noise import ImageNoise

__all__ = [
    "ImageNoise",
    "Point",
    "Sampler",
    "Spec",
    "Walk",
    "create",
    "names",
    "parameters",
    "parse",
    "recommended",
    "register",
    "summary",
]
