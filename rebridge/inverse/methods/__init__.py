"""Zero-shot methods, one file a paper; `rebridge.inverse.create` by name."""

from typing import TYPE_CHECKING

from rebridge._lazy import lazily

if TYPE_CHECKING:
    from rebridge.inverse.methods.base import GridMethod, Method, MethodWarning
    from rebridge.inverse.methods.daps import DAPS
    from rebridge.inverse.methods.ddnm import DDNM
    from rebridge.inverse.methods.ddrm import DDRM
    from rebridge.inverse.methods.dds import DDS
    from rebridge.inverse.methods.deqir import DeqIR
    from rebridge.inverse.methods.diffpir import DiffPIR
    from rebridge.inverse.methods.dmps import DMPS
    from rebridge.inverse.methods.dps import DPS, Posterior
    from rebridge.inverse.methods.guided import Guidance, Guided, GuidedMethod, Proximal, State
    from rebridge.inverse.methods.nrlg import NoiseRefined
    from rebridge.inverse.methods.pigdm import PiGDM, PseudoInverse
    from rebridge.inverse.methods.pnp_flow import PnPFlow
    from rebridge.inverse.methods.red_diff import REDDiff
    from rebridge.inverse.methods.scd import SCD

_PLACES = {
    "base": ("GridMethod", "Method", "MethodWarning"),
    "daps": ("DAPS",),
    "ddnm": ("DDNM",),
    "ddrm": ("DDRM",),
    "dds": ("DDS",),
    "deqir": ("DeqIR",),
    "diffpir": ("DiffPIR",),
    "dmps": ("DMPS",),
    "dps": ("DPS", "Posterior"),
    "guided": ("Guidance", "Guided", "GuidedMethod", "Proximal", "State"),
    "nrlg": ("NoiseRefined",),
    "pigdm": ("PiGDM", "PseudoInverse"),
    "pnp_flow": ("PnPFlow",),
    "red_diff": ("REDDiff",),
    "scd": ("SCD",),
}

if not TYPE_CHECKING:  # type checkers see the imports above
    __getattr__ = lazily(__name__, _PLACES)

__all__ = [
    "DAPS",
    "DDNM",
    "DDRM",
    "DDS",
    "DMPS",
    "DPS",
    "SCD",
    "DeqIR",
    "DiffPIR",
    "GridMethod",
    "Guidance",
    "Guided",
    "GuidedMethod",
    "Method",
    "MethodWarning",
    "NoiseRefined",
    "PiGDM",
    "PnPFlow",
    "Posterior",
    "Proximal",
    "PseudoInverse",
    "REDDiff",
    "State",
]
