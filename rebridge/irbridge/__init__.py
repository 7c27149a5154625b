"""IRBridge: pretrained priors inside restoration bridges (arXiv 2505.24406).

The transition equation lies in `rebridge.bridges.transition`, the denoiser built on it in `rebridge.denoisers.transition`, the
paper's loop in `rebridge.samplers.irbridge`; here are the settings that belong together, and the recovery of an input's details.
"""

from rebridge.bridges.transition import (
    Transition,
    critical_time,
    forward_transition,
    posterior_transition,
    reverse_transition,
)
from rebridge.denoisers import ClassifierFree, TransitionDenoiser
from rebridge.irbridge.details import keep_details
from rebridge.irbridge.finish import Finish, match_colours
from rebridge.irbridge.presets import PRESETS, preset
from rebridge.samplers.generation import DDIM, SDEdit
from rebridge.samplers.irbridge import IRBridge
from rebridge.samplers.prior_schedules import SCHEDULES, Schedule

__all__ = [
    "DDIM",
    "PRESETS",
    "SCHEDULES",
    "ClassifierFree",
    "Finish",
    "IRBridge",
    "SDEdit",
    "Schedule",
    "Transition",
    "TransitionDenoiser",
    "critical_time",
    "forward_transition",
    "keep_details",
    "match_colours",
    "posterior_transition",
    "preset",
    "reverse_transition",
]
