"""The training methods by name.

A method is a class that is built as Method(config, device, validation) and is a `rebridge.training.task.Trainable`. It has

    Config            its settings, a subclass of `rebridge.training.config.RunConfig`
    check(config)     a class method that raises ConfigError before anything large is built
    result            the name of the folder, or file, that `export` writes
    section           a key of the file that only this method has, so that a file with it need not name the method; or None
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rebridge.catalogue import Catalogue
from rebridge.training.config import RunConfig
from rebridge.training.config_files import ConfigError
from rebridge.training.methods.bridge import BridgeTraining
from rebridge.training.methods.consistency import ConsistencyTraining
from rebridge.training.methods.controlnet import ControlNetTraining
from rebridge.training.methods.hidiff import HiDiffTraining
from rebridge.training.methods.refinement import RefinementTraining

METHODS: Catalogue[Any] = Catalogue(
    "training method",
    {
        "bridge": BridgeTraining,
        "refinement": RefinementTraining,
        "consistency": ConsistencyTraining,
        "hidiff": HiDiffTraining,
        "controlnet": ControlNetTraining,
    },
    fixed=("config", "device", "validation"),
)

create = METHODS.create
names = METHODS.names
parameters = METHODS.parameters
summary = METHODS.summary
parse = METHODS.parse
register = METHODS.register


def config_of(name: str) -> type[RunConfig]:
    """The settings of the method of that name, a pydantic model.

    ValueError for an unknown one.
    """
    method: Any = METHODS[name]
    config: type[RunConfig] = method.Config
    return config


def method_of(tree: Mapping[str, Any], source: str) -> str:
    """The name of the method that a tree of settings asks for.

    By the key `method` (earlier: `kind`), by a section of its own, or else "bridge".

    Raises:
        ConfigError: an unknown method, or sections of two methods.
    """
    key = "method" if "method" in tree else "kind"
    methods: dict[str, Any] = {name: METHODS[name] for name in METHODS}
    sections = {method.section: name for name, method in methods.items()}
    given = [section for section in sections if section is not None and tree.get(section) is not None]
    if len(given) > 1:
        raise ConfigError(f"{source}: give {' or '.join(given)}, not both")
    name = tree.get(key, "bridge")
    if name == "bridge" and given:
        name = sections[given[0]]
    if name not in METHODS.names():
        raise ConfigError(f"{source}: {key} must be one of {', '.join(METHODS.names())}, got {name!r}")
    return str(name)
