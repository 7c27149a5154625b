"""Comparison of a run's settings with those of its checkpoint.

Weights and optimiser of one problem are no beginning for another: a change of what `FitConfig.PROBLEM` names is refused.
Everything else may change, and is said.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rebridge.training.checkpoints import CheckpointError
from rebridge.training.config import FitConfig

LISTED = 8
"""Most settings that one sentence names."""
UNSET = "unset"
UNIMPORTANT = ("output",)
"""Settings whose change is not worth a word."""


def check_settings(config: FitConfig, folder: Path, state: Mapping[str, Any], processes: int, speaks: bool) -> None:
    """Compare the settings of a run with those of a checkpoint.

    Args:
        config: of the run.
        folder: of the checkpoint, for messages.
        state: of the checkpoint: `config`, `iteration`, and `processes` where it is known.
        processes: that train together now.
        speaks: warn of what changed without harm.

    Raises:
        CheckpointError: the checkpoint is of another problem, or further than the run is to go.
    """
    last = config.optimisation.iterations
    if state["iteration"] > last:
        raise CheckpointError(
            f"{folder} has {state['iteration']} iterations already, and the configuration asks for optimisation.iterations="
            f"{last}: raise that, or choose another output"
        )
    if state.get("config") is None:
        return
    before, now = _flat(_completed(config, state["config"])), _flat(config.model_dump(mode="json"))
    changed = {
        key: (before.get(key, UNSET), now.get(key, UNSET)) for key in before | now if before.get(key) != now.get(key)
    }
    refused = {key: values for key, values in changed.items() if _matters(key, config)}
    batches = _pairs(before, state.get("processes", processes)), _pairs(now, processes)
    if batches[0] != batches[1] and None not in batches:
        refused["batch x accumulate x processes"] = batches
    if refused:
        parts = dict.fromkeys(key.partition(" ")[0].partition(".")[0] for key in refused)
        raise CheckpointError(
            f"{folder} is of another {' and '.join(parts)}: {_listing(refused)}; resume with its configuration, or begin a "
            "new run in another output (start_from takes weights along)"
        )
    said = {key: values for key, values in changed.items() if key not in UNIMPORTANT}
    if said and speaks:
        warnings.warn(f"the configuration differs from that of {folder}: {_listing(said)}", stacklevel=2)


def _completed(config: FitConfig, tree: Mapping[str, Any]) -> Any:
    """The settings of a checkpoint, with the present defaults where an earlier release had no such key."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return type(config).model_validate(tree).model_dump(mode="json")
    except ValidationError:
        return tree


def _flat(tree: Any, place: str = "") -> dict[str, Any]:
    """Settings by dotted key; lists are values, and so are the groups in them."""
    if not isinstance(tree, Mapping) or not tree:
        return {place: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{place}.{key}" if place else str(key))
    return found


def _matters(key: str, config: FitConfig) -> bool:
    return _below(key, config.PROBLEM) and not _below(key, config.BESIDE)


def _below(key: str, groups: tuple[str, ...]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _pairs(settings: Mapping[str, Any], processes: int) -> int | None:
    """Pairs that an iteration sees, or None where the settings do not tell."""
    batch, accumulate = settings.get("optimisation.batch"), settings.get("optimisation.accumulate")
    return batch * accumulate * processes if isinstance(batch, int) and isinstance(accumulate, int) else None


def _listing(changed: Mapping[str, tuple[Any, Any]]) -> str:
    words = [f"{key} was {_short(old)} and is {_short(new)}" for key, (old, new) in changed.items()]
    return ", ".join([*words[:LISTED], *([f"and {len(words) - LISTED} more"] if len(words) > LISTED else [])])


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
