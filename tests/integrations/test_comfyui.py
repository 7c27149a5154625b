"""The nodes for ComfyUI, called by a stand-in that treats them as ComfyUI does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"
KINDS = {"IMAGE": Tensor, "MASK": Tensor, "STRING": str, "INT": int, "FLOAT": float}


def loaded() -> ModuleType:
    """Import the folder as ComfyUI imports a folder of custom_nodes."""
    spec = importlib.util.spec_from_file_location("custom_nodes_rebridge", FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["custom_nodes_rebridge"] = module
    spec.loader.exec_module(module)
    return module


def run(name: str, **given: Any) -> tuple[Any, ...]:
    """Call a node as ComfyUI does: defaults of what is not connected, checks of ranges, one result per output."""
    node = loaded().NODE_CLASS_MAPPINGS[name]
    values: dict[str, Any] = {}
    inputs = node.INPUT_TYPES()
    for group in ("required", "optional"):
        for key, description in inputs.get(group, {}).items():
            kind, options = description[0], description[1] if len(description) > 1 else {}
            if key not in given:
                if group == "optional" and "default" not in options:
                    continue
                given[key] = options.get("default", kind[0] if isinstance(kind, list) else None)
            value = given[key]
            if isinstance(kind, list):
                assert value in kind
            elif kind in KINDS:
                assert isinstance(value, KINDS[kind]), (key, value)
                if "min" in options:
                    assert options["min"] <= value <= options["max"]
            values[key] = value
    found = getattr(node(), node.FUNCTION)(**values)
    assert isinstance(found, tuple)
    assert len(found) == len(node.RETURN_TYPES)
    return found


@pytest.fixture
def pictures() -> Tensor:
    """Two noisy pictures as ComfyUI has them, (2, 48, 64, 3)."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    smooth = torch.stack([0.5 + 0.4 * torch.sin(rows / (5 + k)) * torch.cos(columns / 8 - k) for k in range(3)], -1)
    noise = torch.randn(2, 48, 64, 3, generator=torch.Generator().manual_seed(0))
    return (smooth + 0.1 * noise).clamp(0, 1)


def test_every_node_has_a_name_and_what_comfyui_asks_for() -> None:
    module = loaded()
    assert set(module.NODE_CLASS_MAPPINGS) == set(module.NODE_DISPLAY_NAME_MAPPINGS)
    for node in module.NODE_CLASS_MAPPINGS.values():
        assert node.CATEGORY == "rebridge"
        assert callable(getattr(node, node.FUNCTION))
        assert set(node.INPUT_TYPES()) <= {"required", "optional", "hidden"}


def test_a_loaded_model_inspects_and_restores(pictures: Tensor) -> None:
    (model,) = run("RebridgeLoadModel", device="cpu")
    (words,) = run("RebridgeInspect", model=model, image=pictures)
    assert [line.split(" (")[0] for line in words.splitlines()] == ["noise", "noise"]
    (found,) = run("RebridgeRestore", model=model, image=pictures)
    assert found.shape == pictures.shape
    assert 0 <= found.min() <= found.max() <= 1
    roughness = [float((part[:, 1:] - part[:, :-1]).abs().mean()) for part in (pictures, found)]
    assert roughness[1] < 0.7 * roughness[0]
    (none,) = run("RebridgeRestore", model=model, image=pictures, strength=0.0)
    assert torch.equal(none, pictures)
    (named,) = run("RebridgeRestore", model=model, image=pictures, task="haze")
    assert not torch.equal(named, found)


def test_folders_can_be_loaded_and_other_models_cannot_be_told(model_folder: Path, pictures: Tensor) -> None:
    (model,) = run("RebridgeLoadModel", folder=str(model_folder), device="cpu")
    (found,) = run("RebridgeRestore", model=model, image=pictures, steps=2, seed=3)
    assert found.shape == pictures.shape
    with pytest.raises(ValueError, match="cannot be told"):
        run("RebridgeRestore", model=model, image=pictures, task="rain")


def test_enlarging_multiplies_the_sides(pictures: Tensor) -> None:
    (found,) = run("RebridgeEnlarge", image=pictures, by=3)
    assert found.shape == (2, 144, 192, 3)


def test_masked_places_alone_are_filled(pictures: Tensor) -> None:
    mask = torch.zeros(1, 48, 64)
    mask[:, 10:20, 10:30] = 1
    (found,) = run("RebridgeFill", image=pictures, mask=mask)
    kept = (mask[0] == 0).expand(2, -1, -1)
    assert torch.equal(found[kept], pictures[kept])
    assert not torch.equal(found, pictures)
