"""Zero-shot restoration: a known operator y = A x + noise, a pretrained prior, and no training."""

from rebridge.inverse import operators
from rebridge.inverse.catalogue import create, names
from rebridge.inverse.ddrm import SpectralWalk
from rebridge.inverse.gaussian import GaussianProblem
from rebridge.inverse.guidance import Guided, Posterior, Proximal, PseudoInverse, ddnm, dds, diffpir, nrlg
from rebridge.inverse.problem import Problem, Solver
from rebridge.inverse.solve import Solution, solve
from rebridge.inverse.unconditional import Unconditional, unconditional

__all__ = [
    "GaussianProblem",
    "Guided",
    "Posterior",
    "Problem",
    "Proximal",
    "PseudoInverse",
    "Solution",
    "Solver",
    "SpectralWalk",
    "Unconditional",
    "create",
    "ddnm",
    "dds",
    "diffpir",
    "names",
    "nrlg",
    "operators",
    "solve",
    "unconditional",
]
