"""Presets: settings of IRBridge that belong together.

The paper's, those that theory asks for, and files of one's own (`rebridge tune`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rebridge import bridges
from rebridge.images.atomic import reason
from rebridge.images.documents import read_json
from rebridge.samplers.prior_schedules import SCHEDULES

PRESET_FORMAT = 1
TUNED = "tuned"
"""The preset that a prior brings along, in the file presets.json of its folder."""

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "bridge": {"name": "ir-sde", "lam": 2 / 255},
        "steps": 100,
        "grid": "uniform",
        "discrete": True,
        "start": "y",
        "stop": False,
    },
    "sound": {
        "bridge": {"name": "ir-sde", "lam": 2 / 255},
        "grid": "log-snr",
        "schedule": "critical",
        "start": "estimate",
        "stop": True,
    },
}
"""`paper`: the paper's settings, its schedule chosen by task. `sound`: what theory asks for. `bridge` beside IRBridge's own.

The paper takes the same lambda for its two bridges, IR-SDE and GOUB, so that `lam` stays with any bridge that has one.
"""


def preset(name: str | Path, task: str | None = None, **changes: Any) -> dict[str, Any]:
    """Look up the settings of a preset for a task.

    Args:
        name: "paper", "sound", or a file that `rebridge tune` wrote.
        task: the degradation whose settings are meant; with "paper" its schedule, by default one that suits most; with a file
            one of its tasks, by default the first.
        changes: settings that win over the preset's; None changes nothing.

    Returns:
        "bridge" ({"name": ..., **parameters}) and parameters of `IRBridge`.

    Raises:
        ValueError: an unknown preset, or a task that a file lacks.
    """
    if str(name).endswith(".json"):
        settings = _of_file(Path(name), task)
    elif name in PRESETS:
        settings = dict(PRESETS[str(name)])
        if name == "paper":
            settings["schedule"] = task if task in SCHEDULES else "critical+300-0"
    else:
        raise ValueError(
            f"unknown preset {str(name)!r}; known are {', '.join(PRESETS)} and {TUNED}, or give a file of `rebridge tune`"
        )
    given = {key: value for key, value in changes.items() if value is not None}
    if isinstance(given.get("bridge"), Mapping):
        own = dict(settings["bridge"])
        wanted = given["bridge"].get("name", own["name"])
        if wanted != own["name"]:
            shared = "lam" in own and "lam" in bridges.parameters(wanted)
            own = {"lam": own["lam"]} if shared and name == "paper" else {}
        given["bridge"] = own | dict(given["bridge"])
    return settings | given


def chosen_preset(name: str | Path | None, own: Path | None, task: str | None) -> str | Path:
    """Choose the preset that is meant.

    Args:
        name: a preset; None for the settings that a prior brings along for the task, or else "sound".
        own: the file of those settings, if the prior has one.
        task: the degradation.

    Raises:
        ValueError: "tuned" where the prior brings none.
    """
    if name == TUNED and own is None:
        raise ValueError(
            "this prior brings no settings of its own; use the preset paper or sound, or write a file with `rebridge tune`"
        )
    if own is not None and (name == TUNED or (name is None and task in read_presets(own))):
        return own
    return name or "sound"


def read_presets(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read settings by task from a file that `rebridge tune` wrote.

    Raises:
        ValueError: any other file; one sentence.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} holds no presets: it {reason(error)}") from None
    tasks = content.get("tasks") if isinstance(content, dict) else None
    if not isinstance(tasks, dict) or content.get("format") != PRESET_FORMAT:
        raise ValueError(f"{path} holds no presets of format {PRESET_FORMAT}; make it with `rebridge tune`")
    for task, settings in tasks.items():
        if not isinstance(settings, dict) or not isinstance(settings.get("bridge"), dict):
            raise ValueError(f"{path}: the settings of {task} name no bridge; make the file with `rebridge tune`")
    return tasks


def _of_file(path: Path, task: str | None) -> dict[str, Any]:
    tasks = read_presets(path)
    chosen = next(iter(tasks), None) if task is None else task
    if chosen not in tasks:
        raise ValueError(f"{path} has no settings for {chosen}; it has {', '.join(tasks) or 'none'}")
    return dict(tasks[str(chosen)])
