"""Old import paths of names that moved: they work for one release.

Each gives a DeprecationWarning that names the new place.

`MOVED` maps each old module to the places where its names are now; what changed its name, or its form, is in `_legacy`.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader as _Loader
else:
    # importlib.abc takes longer to import than all that `import rebridge` needs.
    _Loader = object

MOVED: dict[str, tuple[str, ...]] = {
    "rebridge.names": ("rebridge.catalogue",),
    "rebridge.tables": ("rebridge.bridges.tabulated",),
    "rebridge.files": ("rebridge.images.atomic",),
    "rebridge.codecs": ("rebridge.images.codecs",),
    "rebridge.metadata": ("rebridge.images.metadata",),
    "rebridge.hub": ("rebridge._legacy", "rebridge.models"),
    "rebridge.hub.card": ("rebridge.models.card",),
    "rebridge.hub.folder": ("rebridge._legacy", "rebridge.models.folder", "rebridge.models"),
    "rebridge.hub.format": ("rebridge.models.config",),
    "rebridge.hub.places": ("rebridge.models.places",),
    "rebridge.inference": ("rebridge.restoration", "rebridge.samplers", "rebridge.denoisers"),
    "rebridge.inference.batch": ("rebridge.restoration.files",),
    "rebridge.inference.conversion": ("rebridge.images.arrays",),
    "rebridge.inference.noise": ("rebridge.samplers.noise",),
    "rebridge.inference.restorer": ("rebridge.restoration.restorer", "rebridge.denoisers.precision"),
    "rebridge.inference.tiling": ("rebridge.denoisers.tiling",),
    "rebridge.priors": ("rebridge._legacy", "rebridge.irbridge", "rebridge.models"),
    "rebridge.priors.base": ("rebridge._legacy", "rebridge.denoisers.guidance"),
    "rebridge.priors.baselines": ("rebridge._legacy",),
    "rebridge.priors.details": ("rebridge.irbridge.details",),
    "rebridge.priors.diffusers": ("rebridge._legacy", "rebridge.models.diffusers", "rebridge.models.pipelines"),
    "rebridge.priors.irbridge": ("rebridge.samplers.irbridge", "rebridge.denoisers.transition"),
    "rebridge.priors.loading": ("rebridge.models.loading",),
    "rebridge.priors.pixel": ("rebridge._legacy", "rebridge.models"),
    "rebridge.priors.presets": ("rebridge.irbridge.presets",),
    "rebridge.priors.restorer": ("rebridge._legacy",),
    "rebridge.priors.schedules": ("rebridge.samplers.prior_schedules",),
    "rebridge.priors.transition": ("rebridge._legacy", "rebridge.bridges.transition"),
    "rebridge.inverse.adapt": ("rebridge.inverse.methods.scd",),
    "rebridge.inverse.comparison": ("rebridge.evaluation.solvers",),
    "rebridge.inverse.ddrm": ("rebridge._legacy", "rebridge.inverse.methods.ddrm"),
    "rebridge.inverse.deqir": ("rebridge.inverse.methods.deqir",),
    "rebridge.inverse.fixed_point": ("rebridge.inverse.methods.fixed_point",),
    "rebridge.inverse.guidance": ("rebridge._legacy", "rebridge.inverse.methods", "rebridge.inverse.methods.guided"),
    "rebridge.inverse.lora": ("rebridge.inverse.methods.lora",),
    "rebridge.inverse.pictures": ("rebridge.restoration.measurements",),
    "rebridge.inverse.solve": ("rebridge._legacy", "rebridge.inverse.methods", "rebridge.restoration.solving"),
    "rebridge.inverse.tasks": ("rebridge._legacy", "rebridge.inverse.measurement"),
    "rebridge.inverse.unconditional": ("rebridge._legacy",),
    "rebridge.inverse.variational": ("rebridge.inverse.methods.red_diff",),
    "rebridge.inverse.walks": ("rebridge.inverse.methods",),
    "rebridge.training.controlnet": ("rebridge.training.methods.controlnet",),
    "rebridge.training.journal": ("rebridge.training.logging",),
    "rebridge.training.kinds": ("rebridge.training",),
    "rebridge.training.loop": ("rebridge.training.fit", "rebridge.training.runtime"),
    "rebridge.training.objectives": ("rebridge.training.losses",),
    "rebridge.training.reading": ("rebridge.training.config_files",),
    "rebridge.training.recipes": ("rebridge.training.methods.hidiff", "rebridge.training.methods.refinement"),
    "rebridge.training.states": ("rebridge.training.timesteps",),
    "rebridge.training.stream": ("rebridge.training.data",),
    "rebridge.training.trainer": ("rebridge.training", "rebridge.training.validation"),
}
"""Old modules, and where their names are now, in the order in which they are looked for."""


def moved(name: str, places: Sequence[str]) -> Any:
    """Find a name in its new place and warn about the old one.

    AttributeError where it is in none of them.
    """
    for place in places:
        module = importlib.import_module(place)
        if hasattr(module, name):
            warnings.warn(f"{name} is now in {place}: import it from there", DeprecationWarning, stacklevel=3)
            return getattr(module, name)
    raise AttributeError(f"there is no {name!r} here, nor in {', '.join(places)}")


class _Finder(_Loader):
    """Finds the old modules of `MOVED`: empty ones, whose names are looked for in the new places."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        places = MOVED[module.__name__]

        def find(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return moved(name, places)

        module.__dict__["__getattr__"] = find
        warnings.warn(f"{module.__name__} has moved: see {' and '.join(places[-2:])}", DeprecationWarning, stacklevel=2)


if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.append(_Finder())
