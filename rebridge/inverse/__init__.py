"""Zero-shot restoration: a known operator y = A x + noise, a pretrained prior, and no training."""

from rebridge.inverse import operators
from rebridge.inverse.catalogue import create, names, parameters, parse, register, summary
from rebridge.inverse.ddrm import SpectralWalk
from rebridge.inverse.gaussian import GaussianProblem
from rebridge.inverse.guidance import Guided, Posterior, Proximal, PseudoInverse, ddnm, dds, diffpir, nrlg
from rebridge.inverse.measurement import Measurement
from rebridge.inverse.problem import Problem, Solver

__all__ = [
    "GaussianProblem",
    "Guided",
    "Measurement",
    "Posterior",
    "Problem",
    "Proximal",
    "PseudoInverse",
    "Solver",
    "SpectralWalk",
    "create",
    "ddnm",
    "dds",
    "diffpir",
    "names",
    "nrlg",
    "operators",
    "parameters",
    "parse",
    "register",
    "summary",
]


def __getattr__(name: str) -> object:
    if name in ("solve", "Solution", "Unconditional", "unconditional"):
        from rebridge._moved import MOVED, moved

        return moved(name, MOVED["rebridge.inverse.solve"])
    raise AttributeError(f"module 'rebridge.inverse' has no attribute {name!r}")
