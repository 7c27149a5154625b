"""Zero-shot restoration: a known operator, a pretrained prior, no training."""

from typing import TYPE_CHECKING

from rebridge._lazy import lazily

if TYPE_CHECKING:
    from rebridge.inverse import methods, operators
    from rebridge.inverse.catalogue import SOLVERS, create, names, parameters, parse, register, summary
    from rebridge.inverse.consistency import DataConsistent
    from rebridge.inverse.gaussian import GaussianProblem
    from rebridge.inverse.measurement import Measurement, OperatorSpec
    from rebridge.inverse.methods import Guided, GuidedMethod, Method, MethodWarning, Proximal
    from rebridge.inverse.problem import Problem
    from rebridge.inverse.recommending import recommended, recommended_text

_PLACES = {
    "catalogue": ("SOLVERS", "create", "names", "parameters", "parse", "register", "summary"),
    "consistency": ("DataConsistent",),
    "gaussian": ("GaussianProblem",),
    "measurement": ("Measurement", "OperatorSpec"),
    "methods": ("Guided", "GuidedMethod", "Method", "MethodWarning", "Proximal"),
    "operators": (),
    "problem": ("Problem",),
    "recommending": ("recommended", "recommended_text"),
}

__all__ = [
    "SOLVERS",
    "DataConsistent",
    "GaussianProblem",
    "Guided",
    "GuidedMethod",
    "Measurement",
    "Method",
    "MethodWarning",
    "OperatorSpec",
    "Problem",
    "Proximal",
    "create",
    "methods",
    "names",
    "operators",
    "parameters",
    "parse",
    "recommended",
    "recommended_text",
    "register",
    "summary",
]


_MOVED = {"Posterior", "PseudoInverse", "Solution", "Solver", "SpectralWalk", "Unconditional", "solve", "unconditional"}
_MOVED |= {"ddnm", "dds", "diffpir", "nrlg"}

if not TYPE_CHECKING:  # type checkers see the imports above, and that there is nothing else
    _find = lazily(__name__, _PLACES)

    def __getattr__(name: str) -> object:
        if name in _MOVED:
            from rebridge._moved import MOVED, moved

            return moved(name, MOVED["rebridge.inverse.solve"])
        return _find(name)
