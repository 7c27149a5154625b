"""Operators that measured an image, by name; composable with @ and |."""

from rebridge.inverse.operators.algebra import Composed, Stacked, compose, stack
from rebridge.inverse.operators.base import Linear, Measures, Operator, Spectral, Trust
from rebridge.inverse.operators.catalogue import OPERATORS, create, names, parameters, parse, register, summary
from rebridge.inverse.operators.convolution import PeriodicBlur, ReflectBlur
from rebridge.inverse.operators.foreign import ForeignOperator, ForwardOperator, adjoint_test, as_operator, wrap
from rebridge.inverse.operators.jpeg import JPEG
from rebridge.inverse.operators.pixelwise import Colour, Identity, Mask
from rebridge.inverse.operators.radon import Radon
from rebridge.inverse.operators.sensing import CompressedSensing
from rebridge.inverse.operators.separable import Separable

__all__ = [
    "JPEG",
    "OPERATORS",
    "Colour",
    "Composed",
    "CompressedSensing",
    "ForeignOperator",
    "ForwardOperator",
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
    "Stacked",
    "Trust",
    "adjoint_test",
    "as_operator",
    "compose",
    "create",
    "names",
    "parameters",
    "parse",
    "register",
    "stack",
    "summary",
    "wrap",
]
