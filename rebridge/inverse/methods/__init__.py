"""Zero-shot methods, one file a paper; `rebridge.inverse.create` by name."""

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
