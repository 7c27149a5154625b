"""The model card: use and making of a model, as README.md of its folder.

Its front matter is the metadata that the Hugging Face Hub reads: pipeline_tag, license, base_model, and the metrics of the last
validation as a model index (huggingface.co/docs/hub/model-cards).
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from rebridge import bridges
from rebridge.models.config import without_name
from rebridge.networks.conditions import conditions_of, listed

_HEAD = """---
{metadata}---

# {name}

{use}

| part | choice |
|---|---|
"""


LIBRARY, PIPELINE = "rebridge", "image-to-image"

_BRIDGE = """Restores images with a diffusion bridge{tasks}.

    import rebridge
    restore = rebridge.Restorer.from_pretrained("{name}")
    image = restore(image, seed=0{told})"""
_PRIOR = """A generative prior, which restores images inside a bridge (IRBridge){tasks}.

    rebridge restore photos -o restored --method irbridge --model {name} --task {task}

    import rebridge
    restore = rebridge.Restorer.from_preset("{name}", task="{task}")
    image = restore(image, seed=0{told})"""

_UNCONDITIONAL = """A generative prior that knows of no degraded image: it is for the zero-shot solvers.

    rebridge solve photos -o solved --operator sr4 --prior {name}

    import rebridge
    found = rebridge.solve(measurement, operator, "{name}", sigma_y=0.02)"""


def card(name: str, config: dict[str, Any], parameters: int | None = None) -> str:
    """Markdown of the card, with the front matter that the hub reads.

    parameters: number of weights.
    """
    import yaml

    tasks = [str(task) for task in config.get("tasks", [])]
    conditions = conditions_of(config["network"].get("conditions"))
    text = _HEAD.format(
        name=name,
        metadata=yaml.safe_dump(card_metadata(name, config), sort_keys=False, allow_unicode=True),
        use=_use(config).format(
            name=name,
            tasks=f": {', '.join(tasks)}" if tasks else "",
            task=tasks[0] if tasks else "TASK",
            told="".join(f", {condition}={condition}" for condition in conditions),
        ),
    )
    for part in ("bridge", "network", "sampler"):
        text += f"| {part} | {config[part]['name']} ({_listed(without_name(config[part]))}) |\n"
    text += f"| prediction | {config['prediction']} |\n"
    if conditions:
        text += f"| conditions | {listed(conditions)} |\n"
    if "predictor" in config:
        predictor = config["predictor"]["network"]
        text += f"| the bridge starts from | {predictor['name']} ({_listed(without_name(predictor))}) |\n"
    if parameters is not None:
        text += f"| parameters | {parameters:,} |\n"
    if config.get("training"):
        text += f"\n## Training\n\n```json\n{json.dumps(config['training'], indent=2)}\n```\n"
    return text


def card_metadata(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Make the front matter of the card.

    Args:
        name: of the model.
        config: content of its config.json.
    """
    found: dict[str, Any] = {"library_name": LIBRARY, "pipeline_tag": PIPELINE}
    tasks = [str(task) for task in config.get("tasks", [])]
    licence = str(config.get("licence") or "").strip()
    if re.fullmatch(r"[\w.-]+", licence):
        found["license"] = licence.lower()
    elif licence:
        found |= {"license": "other", "license_name": "see-below", "license_link": "README.md"}
    if "base_model" in config:
        found["base_model"] = config["base_model"]
    if "sha256" in config:
        found["sha256"] = config["sha256"]
    found["tags"] = ["image-restoration", "diffusion-bridge", *tasks]
    results = list(_results(config))
    return found | ({"model-index": [{"name": name, "results": results}]} if results else {})


def _results(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The metrics of the last validation, a result for each task, PSNR in dB by number of steps."""
    measured = config.get("training", {}).get("psnr")
    by_task: dict[str, list[dict[str, Any]]] = {}
    for key, value in (measured if isinstance(measured, dict) else {}).items():
        kind, _, rest = str(key).partition("/")
        steps, _, task = rest.rpartition("/")
        if kind == "psnr" and isinstance(value, int | float):
            label = f"PSNR in dB, {steps}" if steps else "PSNR in dB"
            by_task.setdefault(task or rest, []).append({"type": "psnr", "value": round(value, 2), "name": label})
    for task, metrics in by_task.items():
        dataset = {"type": "validation", "name": f"validation images of the training, {task}"}
        yield {"task": {"type": PIPELINE, "name": "Image restoration"}, "dataset": dataset, "metrics": metrics}


def _use(config: dict[str, Any]) -> str:
    if not _generative(config["bridge"]):
        return _BRIDGE
    return _PRIOR if config.get("tasks") else _UNCONDITIONAL


def _generative(described: dict[str, Any]) -> bool:
    return bridges.create(described["name"], **without_name(described)).generative


def _listed(params: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in params.items()) or "defaults"
