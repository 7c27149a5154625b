"""The networks by name."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rebridge.catalogue import Catalogue
from rebridge.networks.careful import Careful
from rebridge.networks.conditions import Condition
from rebridge.networks.equaliser import EqualiserAlone
from rebridge.networks.fast import Fast
from rebridge.networks.hidiff_sizes import hi_diff, hi_diff_realblur, hi_diff_tiny
from rebridge.networks.layers import Network
from rebridge.networks.unet import rdbm_b, rdbm_l, rdbm_s, rdbm_t

MOST: dict[str, float] = {
    **dict.fromkeys(("channels", "width", "encoder_width", "denoiser_width", "features", "spectra", "embedding"), 8192),
    **dict.fromkeys(("widths", "window", "steps"), 8192),
    **dict.fromkeys(
        ("blocks", "middle", "encoder_blocks", "denoiser_blocks", "refinement", "heads", "multipliers"), 128
    ),
    **dict.fromkeys(("kinds", "side", "dense", "unshuffle", "expansion"), 256),
}
"""Greatest numbers that a network is built of, so that a broken configuration does not fill the memory."""

NETWORKS: Catalogue[Any] = Catalogue(
    "network",
    {
        "rdbm-t": rdbm_t,
        "rdbm-s": rdbm_s,
        "rdbm-b": rdbm_b,
        "rdbm-l": rdbm_l,
        "fast": Fast,
        "equaliser": EqualiserAlone,
        "careful": Careful,
        "hi-diff-tiny": hi_diff_tiny,
        "hi-diff": hi_diff,
        "hi-diff-realblur": hi_diff_realblur,
    },
    greatest=MOST,
)

BEFORE: dict[str, dict[str, Any]] = {name: {"released": False} for name in ("rdbm-t", "rdbm-s", "rdbm-b", "rdbm-l")}
"""Parameters that configurations saved by earlier versions lack, with the values that those networks have."""

names = NETWORKS.names
parameters = NETWORKS.parameters
summary = NETWORKS.summary
register = NETWORKS.register


def create(name: str, **params: Any) -> Network:
    """Build the network of a name; `config` of the result rebuilds it.

    Raises:
        ValueError: an unknown name or parameter, or a value out of range.
    """
    network: Network = NETWORKS.create(name, **params)
    resolved = inspect.signature(NETWORKS[name]).bind(**params)
    resolved.apply_defaults()
    network.config = {"name": name, **{key: _plain(value) for key, value in resolved.arguments.items()}}
    return network


def rebuild(config: Mapping[str, Any]) -> Network:
    """Build the network that a saved `config` describes.

    Raises:
        ValueError: as `create`.
    """
    params = {str(key): value for key, value in completed(config).items() if key != "name"}
    return create(config["name"], **params)


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a saved `config` by what an earlier version did not write.

    Those parameters have the values of then.
    """
    return {**BEFORE.get(config["name"], {}), **config}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: asdict(part) if isinstance(part, Condition) else part for key, part in value.items()}
    return list(value) if isinstance(value, tuple) else value
