"""The official networks' names, shapes and outputs, and files in the authors' layouts made from them.

Weights are not stored: a rule makes them from names and shapes, exactly, on any machine. Weight number k in sorted order of
names gets an integer hash of its index, uniform, of variance 1/fan-in; gains of norms 1 +- 0.1; biases +- 0.1.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "official"
TIMES = torch.tensor([3.0, 871.0])
CLOSE: dict[str, Any] = {"rtol": 0.0, "atol": 3e-5}


def uniform(count: int, k: int) -> np.ndarray:
    """`count` numbers in [-1, 1), float64: a 32-bit integer hash of i + 1000003 k."""
    x = (np.arange(count, dtype=np.uint64) + np.uint64(1000003) * np.uint64(k)) & np.uint64(0xFFFFFFFF)
    for factor, shift in ((2654435761, 16), (2246822519, 13), (3266489917, 16)):
        x = (x * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
        x ^= x >> np.uint64(shift)
    return x.astype(np.float64) / 2147483648.0 - 1.0


def weight(name: str, shape: tuple[int, ...], k: int) -> Tensor:
    """The float32 weight of that name, whose place among all names in sorted order is k."""
    u = uniform(int(np.prod(shape)) if shape else 1, k)
    last = name.rsplit(".", 1)[-1]
    if last == "g" or (len(shape) == 1 and last == "weight"):
        u = 1.0 + 0.1 * u
    elif len(shape) <= 1:
        u = 0.1 * u
    else:
        u = u * np.sqrt(3.0 / int(np.prod(shape[1:])))
    return torch.from_numpy(u.astype(np.float32).reshape(shape))


def weights(shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """A whole state dict, in the order of `shapes`."""
    places = {name: k for k, name in enumerate(sorted(shapes))}
    return {name: weight(name, tuple(shape), places[name]) for name, shape in shapes.items()}


def image(shape: tuple[int, ...], k: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Input number k of the reference, float32."""
    u = uniform(int(np.prod(shape)), 1000 + k)
    return torch.from_numpy((low + (high - low) * (u + 1) / 2).astype(np.float32).reshape(shape))


def reference(name: str) -> dict[str, Any]:
    """Names, shapes, sizes and conventions of one official network."""
    content: dict[str, Any] = json.loads((FOLDER / "networks" / f"{name}.json").read_text())
    return content


def outputs(name: str) -> dict[str, Tensor]:
    """Its outputs for the weights of the rule."""
    with np.load(FOLDER / "networks" / f"{name}.npz") as content:
        return {key: torch.from_numpy(content[key]) for key in content.files}


def numbers(name: str) -> dict[str, Any]:
    """Numbers of an official sampler or process."""
    content: dict[str, Any] = json.loads((FOLDER / "bridges" / f"{name}.json").read_text())
    return content


def state(name: str, key: str = "tiny_shapes") -> dict[str, Tensor]:
    """The tiny network's state dict in the order of the authors', without buffers."""
    content = reference(name)
    shapes = content[key]
    ordered = content.get("state_dict_order", []) if key == "tiny_shapes" else []
    order = [entry for entry in ordered if entry in shapes] or list(shapes)
    places = {entry: k for k, entry in enumerate(sorted(shapes))}
    return {entry: weight(entry, tuple(shapes[entry]), places[entry]) for entry in order}


def empty(name: str) -> dict[str, Tensor]:
    """A state dict of the published size that holds no memory."""
    return {key: torch.empty(shape, device="meta") for key, shape in reference(name)["true_shapes"].items()}


def assert_stated(found: Tensor, stated: Mapping[str, Any]) -> None:
    """Shape, mean, standard deviation and largest value are those stated for an output that is kept aside."""
    assert list(found.shape) == stated["shape"]
    assert abs(found.mean().item() - stated["mean"]) < 1e-5
    assert abs(found.std(unbiased=False).item() - stated["std"]) < 1e-5
    assert abs(found.abs().max().item() - stated["absmax"]) < 5e-5


class Replay:
    """A source of noise that gives out tensors in their order."""

    def __init__(self, *noise: Tensor) -> None:
        self.noise = list(noise)

    def __call__(self, like: Tensor) -> Tensor:
        return self.noise.pop(0).to(like)
