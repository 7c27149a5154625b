"""Settings with which a network would learn nothing, refused with a sentence."""

from __future__ import annotations

import warnings
from typing import Any

from rebridge.denoisers import NetworkDenoiser
from rebridge.denoisers.parameterization import SCALED
from rebridge.training.config_files import ConfigError

SOME = 0.05
"""Share of samples at states that teach nothing from which on it is said."""


def check_teaches(config: Any, denoiser: NetworkDenoiser) -> None:
    """Refuse training at states that teach nothing, and warn of some among others.

    Args:
        config: a `TrainConfig`.
        denoiser: with its bridge and prediction.

    Raises:
        ConfigError: all states, or all those before t = 1, teach nothing.
    """
    bridge, prediction = denoiser.bridge, denoiser.prediction
    if prediction in SCALED and bridge.noiseless and config.objective != "regression":
        raise ConfigError(
            f"prediction: {prediction} weighs by noise, and {bridge.name} here has none, so a state says all: "
            "predict x0, residual or velocity, or train with objective regression"
        )
    if config.loss.weighting == "posterior" and bridge.noiseless:
        raise ConfigError(f"loss.weighting: posterior needs a bridge with noise, and {bridge.name} here has none")
    share = 1.0 if config.objective == "regression" else config.states.end_fraction
    if not denoiser.blind_at_end or share < SOME:
        return
    if share < 1 and "end_fraction" not in config.states.model_fields_set:
        return  # they are trained below t = 1 alone
    what = (
        f"on {bridge.name} a network that predicts {prediction} learns nothing at t = 1, where the estimate is "
        "the degraded image whatever it says"
    )
    if share == 1:
        key = "objective: regression" if config.objective == "regression" else "states.end_fraction"
        raise ConfigError(f"{key} trains at t = 1 only, and {what}; use prediction x0 or residual")
    warnings.warn(f"states.end_fraction: {what}; {share:.0%} of the samples are wasted, set it to 0", stacklevel=2)
