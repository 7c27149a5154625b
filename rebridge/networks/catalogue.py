"""The networks by name."""

import inspect
from collections.abc import Callable
from typing import Any

from rebridge.names import check_name, check_parameters
from rebridge.networks.equaliser import EqualiserAlone
from rebridge.networks.fast import Fast
from rebridge.networks.hidiff import hi_diff, hi_diff_tiny
from rebridge.networks.layers import Network
from rebridge.networks.unet import RDBM_B, RDBM_L, RDBM_S, RDBM_T

NETWORKS: dict[str, Callable[..., Network]] = {
    "rdbm-t": RDBM_T,
    "rdbm-s": RDBM_S,
    "rdbm-b": RDBM_B,
    "rdbm-l": RDBM_L,
    "fast": Fast,
    "equaliser": EqualiserAlone,
    "hi-diff-tiny": hi_diff_tiny,
    "hi-diff": hi_diff,
}


def names() -> list[str]:
    """Names that `create` knows."""
    return list(NETWORKS)


def create(name: str, **params: Any) -> Network:
    """The network of that name; `config` of the result rebuilds it, defaults included.

    Raises ValueError for an unknown name or parameter.
    """
    check_name("network", name, NETWORKS)
    build = NETWORKS[name]
    signature = inspect.signature(build)
    check_parameters(f"network {name!r}", params, signature.parameters)
    resolved = signature.bind(**params)
    resolved.apply_defaults()
    network = build(**params)
    network.config = {"name": name, **{key: _plain(value) for key, value in resolved.arguments.items()}}
    return network


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
