"""What measured an image: operators with `A`, `A_adjoint`, `A_dagger` and `prox_l2`, by name."""

from rebridge.inverse.operators.base import Linear, Measures, Operator, Spectral
from rebridge.inverse.operators.catalogue import create, names, parameters
from rebridge.inverse.operators.convolution import PeriodicBlur, ReflectBlur
from rebridge.inverse.operators.jpeg import JPEG
from rebridge.inverse.operators.pixelwise import Colour, Identity, Mask
from rebridge.inverse.operators.radon import Radon
from rebridge.inverse.operators.sensing import CompressedSensing
from rebridge.inverse.operators.separable import Separable

__all__ = [
    "JPEG",
    "Colour",
    "CompressedSensing",
    "Identity",
    "Linear",
    "Mask",
    "Measures",
    "Operator",
    "PeriodicBlur",
    "Radon",
    "ReflectBlur",
    "Separable",
    "Spectral",
    "create",
    "names",
    "parameters",
]
