"""From a network's output, or an exact posterior, to the clean estimate that samplers ask for."""

from rebridge.denoisers.analytic import GaussianDenoiser, MixtureDenoiser, ResidualDenoiser
from rebridge.denoisers.base import Denoiser, Estimate, as_estimate
from rebridge.denoisers.parameterization import PREDICTIONS, NetworkDenoiser

__all__ = [
    "PREDICTIONS",
    "Denoiser",
    "Estimate",
    "GaussianDenoiser",
    "MixtureDenoiser",
    "NetworkDenoiser",
    "ResidualDenoiser",
    "as_estimate",
]
