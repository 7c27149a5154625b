"""Numbers printed by the official implementations, and the inputs and denoiser that they were given.

They lie in tests/official; each file names its source and parameters.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "official"


def load(name: str) -> dict[str, Any]:
    """One file of reference numbers."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def double(values: Any) -> Tensor:
    """A list of numbers, or a tensor, in float64."""
    return torch.as_tensor(values, dtype=torch.float64)


def inputs() -> tuple[Tensor, Tensor]:
    """The degraded images y (2, 3, 4, 4) and 130 noise tensors of that shape, in the order drawn."""
    content = load("inputs")
    return torch.tensor(content["y"]), torch.tensor(content["noise (in the order drawn)"])


def denoiser(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """tanh(0.9 x_t + 0.4 y - 0.3 t), what all official samplers were run with."""
    return torch.tanh(0.9 * x_t + 0.4 * y - 0.3 * t.view(-1, 1, 1, 1))


class Replay:
    """A source of noise that gives out recorded tensors in their order."""

    def __init__(self, noise: Tensor) -> None:
        self.noise = noise
        self.drawn = 0

    def __call__(self, like: Tensor) -> Tensor:
        self.drawn += 1
        return self.noise[self.drawn - 1].to(like)
