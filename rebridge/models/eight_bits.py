"""Weights in eight bits: w = scale * q.

There is one scale for each output of a layer, and q goes from -127 to 127.

Symmetric rounding to the nearest, as in Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference" (2018). It is a way to store weights: they are computed with in float32.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"
"""What the name of a weight's scales ends in."""
LEAST_ROUNDED = 512
"""Numbers that a weight has at least that is rounded: smaller ones take little space."""
LARGEST_STEP = 127


def rounded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round the large weights of a network.

    Args:
        state: tensors by name; those of two dimensions and more, the first of which counts a layer's outputs, are rounded.

    Returns:
        int8 tensors, beside each the float32 scales of its outputs, (outputs,); other fractions in float16, the rest as it was.
    """
    stored: dict[str, Tensor] = {}
    for name, value in state.items():
        if not value.is_floating_point():
            stored[name] = value
        elif value.ndim < 2 or value.numel() < LEAST_ROUNDED:
            stored[name] = value.detach().half()
        else:
            scale = value.detach().float().abs().flatten(1).amax(1) / LARGEST_STEP
            steps = value.detach().float() / _beside(scale.clamp_min(torch.finfo(torch.float32).tiny), value)
            stored[name], stored[name + SCALE] = steps.round().to(torch.int8), scale
    return stored


def unrounded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `rounded` as far as that goes.

    Weights of int8 that have scales become float32; all else is handed on.
    """
    small = {name for name, value in weights.items() if value.dtype == torch.int8 and name + SCALE in weights}
    scales = {name + SCALE for name in small}
    return {
        name: _beside(weights[name + SCALE].float(), value) * value if name in small else value
        for name, value in weights.items()
        if name not in scales
    }


def _beside(scale: Tensor, value: Tensor) -> Tensor:
    """Scales in the shape in which they are multiplied with a weight, (outputs, 1, ...)."""
    return scale.view(-1, *[1] * (value.ndim - 1))
