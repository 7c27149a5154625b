"""The catalogue of bridges, by name."""

from __future__ import annotations

from typing import Any

from rebridge.bridges.base import Bridge
from rebridge.bridges.brownian import DDBMVE, DDBMVP, I2SB, Brownian
from rebridge.bridges.checking import check_bridge
from rebridge.bridges.diffusion import VE, VP, RectifiedFlow
from rebridge.bridges.linear import RDDM, DiffUIR, Flow, InDI, ResShift
from rebridge.bridges.multiplicative import FoD
from rebridge.bridges.ou import GOUB, IRSDE, RDBM, UniDB
from rebridge.catalogue import Catalogue, check_name

BRIDGES: Catalogue[Bridge] = Catalogue(
    "bridge",
    {
        "rdbm": RDBM,
        "goub": GOUB,
        "unidb": UniDB,
        "ir-sde": IRSDE,
        "brownian": Brownian,
        "i2sb": I2SB,
        "ddbm-ve": DDBMVE,
        "ddbm-vp": DDBMVP,
        "rddm": RDDM,
        "resshift": ResShift,
        "diffuir": DiffUIR,
        "indi": InDI,
        "flow": Flow,
        "fod": FoD,
        "vp": VP,
        "ve": VE,
        "rectified-flow": RectifiedFlow,
    },
    greatest={"steps": 100_000},
)

BRIDGE_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "rdbm": {
        "paper": {"modulation": "residual", "lam": 10 / 255},
        "release": {"modulation": "one", "lam": 1e-4},
    },
    "brownian": {"lbm": {"m_min": 0.0, "m_max": 1.0, "max_var": 5e-7}},
}
"""Named parameter sets where a paper and its code differ; a parameter given beside a preset wins."""


def create(name: str, preset: str | None = None, **params: Any) -> Bridge:
    """Build a bridge by name, such as create("goub", lam=30/255, steps=100).

    Args:
        name: of the catalogue.
        preset: a named parameter set, for instance "paper" or "release" of "rdbm".
        params: the bridge's own parameters; they win over the preset's.

    Raises:
        ValueError: an unknown name, preset or parameter, a value outside its range, or a process that no sampler could
            sample (see `check_bridge`).
    """
    if preset is not None:
        check_name("bridge", name, BRIDGES.names())
        presets = BRIDGE_PRESETS.get(name, {})
        check_name(f"preset of {name}", preset, presets)
        params = presets[preset] | params
    bridge = BRIDGES.create(name, **params)
    check_bridge(bridge)
    return bridge


names = BRIDGES.names
parameters = BRIDGES.parameters
summary = BRIDGES.summary
parse = BRIDGES.parse
register = BRIDGES.register
