"""The model card: use and making of a model, as README.md of its folder."""

import json
from typing import Any

from rebridge import bridges
from rebridge.models.config import without_name

_HEAD = """---
library_name: rebridge
pipeline_tag: image-to-image
tags:
{tags}
---

# {name}

{use}

| part | choice |
|---|---|
"""


_BRIDGE = """Restores images with a diffusion bridge{tasks}.

    import rebridge
    restore = rebridge.Restorer.from_pretrained("{name}")
    image = restore(image, seed=0)"""
_PRIOR = """A generative prior, which restores images inside a bridge (IRBridge){tasks}.

    rebridge restore photos -o restored --method irbridge --model {name} --task {task}

    import rebridge
    restore = rebridge.Restorer.from_preset("{name}", task="{task}")
    image = restore(image, seed=0)"""

_UNCONDITIONAL = """A generative prior that knows of no degraded image: it is for the zero-shot solvers.

    rebridge solve photos -o solved --operator sr4 --prior {name}

    import rebridge
    found = rebridge.solve(measurement, operator, "{name}", sigma_y=0.02)"""


def card(name: str, config: dict[str, Any], parameters: int | None = None) -> str:
    """Markdown of the card, with the front matter that the hub reads.

    parameters: number of weights.
    """
    tasks = [str(task) for task in config.get("tasks", [])]
    text = _HEAD.format(
        name=name,
        tags="\n".join(f"- {tag}" for tag in ("image-restoration", "diffusion-bridge", *tasks)),
        use=_use(config).format(
            name=name, tasks=f": {', '.join(tasks)}" if tasks else "", task=tasks[0] if tasks else "TASK"
        ),
    )
    for part in ("bridge", "network", "sampler"):
        text += f"| {part} | {config[part]['name']} ({_listed(without_name(config[part]))}) |\n"
    text += f"| prediction | {config['prediction']} |\n"
    if "predictor" in config:
        predictor = config["predictor"]["network"]
        text += f"| the bridge starts from | {predictor['name']} ({_listed(without_name(predictor))}) |\n"
    if parameters is not None:
        text += f"| parameters | {parameters:,} |\n"
    if config.get("training"):
        text += f"\n## Training\n\n```json\n{json.dumps(config['training'], indent=2)}\n```\n"
    return text


def _use(config: dict[str, Any]) -> str:
    if not _generative(config["bridge"]):
        return _BRIDGE
    return _PRIOR if config.get("tasks") else _UNCONDITIONAL


def _generative(described: dict[str, Any]) -> bool:
    return bridges.create(described["name"], **without_name(described)).generative


def _listed(params: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in params.items()) or "defaults"
