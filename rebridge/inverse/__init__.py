"""Zero-shot restoration: a known operator y = A x + noise, a pretrained prior, and no training."""

from rebridge.inverse import operators
from rebridge.inverse.ddrm import DDRM
from rebridge.inverse.gaussian import GaussianProblem
from rebridge.inverse.guidance import Guided, Posterior, Proximal, PseudoInverse, ddnm, dds, diffpir, nrlg

__all__ = [
    "DDRM",
    "GaussianProblem",
    "Guided",
    "Posterior",
    "Proximal",
    "PseudoInverse",
    "ddnm",
    "dds",
    "diffpir",
    "nrlg",
    "operators",
]
