"""Denoisers: functions of (x_t, t, y) that estimate the clean image.

They stand on a network's output, an exact posterior, or another denoiser.
"""

from rebridge.denoisers.analytic import GaussianDenoiser, MixtureDenoiser, ResidualDenoiser
from rebridge.denoisers.base import Denoiser, Estimate, Progress, as_estimate
from rebridge.denoisers.counting import Counted
from rebridge.denoisers.guidance import ClassifierFree
from rebridge.denoisers.parameterization import PREDICTIONS, NetworkDenoiser
from rebridge.denoisers.precision import Autocast
from rebridge.denoisers.preconditioning import Preconditioning, ddbm_preconditioning
from rebridge.denoisers.tiling import TiledDenoiser
from rebridge.denoisers.transition import TransitionDenoiser

__all__ = [
    "PREDICTIONS",
    "Autocast",
    "ClassifierFree",
    "Counted",
    "Denoiser",
    "Estimate",
    "GaussianDenoiser",
    "MixtureDenoiser",
    "NetworkDenoiser",
    "Preconditioning",
    "Progress",
    "ResidualDenoiser",
    "TiledDenoiser",
    "TransitionDenoiser",
    "as_estimate",
    "ddbm_preconditioning",
]
