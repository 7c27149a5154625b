"""Pretrained generative models inside restoration bridges: IRBridge, its transitions, and the priors it can use."""

from rebridge.priors.base import ClassifierFree, Prior, PriorError
from rebridge.priors.baselines import conditional_ddim, sdedit
from rebridge.priors.details import keep_details
from rebridge.priors.irbridge import IRBridge, TransitionDenoiser
from rebridge.priors.loading import load_prior
from rebridge.priors.pixel import DEFAULT_PRIOR, PixelPrior
from rebridge.priors.presets import PRESETS, preset
from rebridge.priors.restorer import IRBridgeRestorer
from rebridge.priors.schedules import SCHEDULES, Schedule
from rebridge.priors.transition import (
    Transition,
    critical_time,
    forward_transition,
    posterior_transition,
    reverse_transition,
)

__all__ = [
    "DEFAULT_PRIOR",
    "PRESETS",
    "SCHEDULES",
    "ClassifierFree",
    "IRBridge",
    "IRBridgeRestorer",
    "PixelPrior",
    "Prior",
    "PriorError",
    "Schedule",
    "Transition",
    "TransitionDenoiser",
    "conditional_ddim",
    "critical_time",
    "forward_transition",
    "keep_details",
    "load_prior",
    "posterior_transition",
    "preset",
    "reverse_transition",
    "sdedit",
]
