"""Restorers that the package spandrel knows, as networks.

NAFNet, SwinIR, Restormer and some forty more:

    output = restored - y,    whatever the state and the time

So one is a model of one step, or the predictor that a stochastic refinement starts from. An enlarger by s sees the picture
shrunk by s, as pictures to be enlarged come already at their final size. Its weights stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from rebridge.networks.layers import Network, check_inputs

SPANDREL = "spandrel"
"""Name of such a network in a configuration; it is in no catalogue, as it needs a file."""


class SpandrelRestorer(Network):
    """A restorer of spandrel, from the file of its weights.

    Args:
        file: of the weights, .pth or .safetensors; it is needed again wherever the network is built.
        value_range: of the bridge beside which it is used; the restorer itself works in [0, 1].

    Raises:
        ValueError: spandrel cannot be imported, or does not know the file.
    """

    def __init__(self, file: str, value_range: Sequence[float] = (-1.0, 1.0)) -> None:
        super().__init__()
        self.low, self.high = value_range
        self.descriptor = _opened(Path(os.path.expanduser(file)))
        self.restorer: Any = self.descriptor.model.eval().requires_grad_(False)
        self.channels = int(self.descriptor.input_channels)
        self.config = {"name": SPANDREL, "file": str(file), "value_range": [self.low, self.high]}

    @torch.no_grad()
    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Compute the change that restores y, (B, C, H, W)."""
        check_inputs(x, t, y, self.channels)
        height, width = y.shape[-2:]
        scale = self.descriptor.scale
        picture = ((y - self.low) / (self.high - self.low)).clamp(0, 1)
        if scale != 1:
            size = (-(-height // scale), -(-width // scale))
            picture = interpolate(picture, size, mode="bicubic", antialias=True).clamp(0, 1)
        # what an inference mode returns must not enter a training
        found = self.descriptor(picture).clone()[..., :height, :width]
        return self.low + (self.high - self.low) * found - y


def _opened(file: Path) -> Any:
    """The descriptor of a file; ValueError, one sentence, where that is impossible."""
    try:
        import spandrel
    except ImportError as error:
        raise ValueError(
            f"restorers of spandrel need extra packages ({error.name or error} is missing): pip install 'rebridge[spandrel]'"
        ) from None
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    try:
        with torch.device("cpu"):  # also where only the outline of a model is made
            descriptor = spandrel.ModelLoader(device="cpu").load_from_file(file)
    except Exception as error:  # its readers have many
        raise ValueError(f"{file.name} is no restorer that spandrel knows ({type(error).__name__})") from None
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise ValueError(f"{file.name} needs more than a picture, which is not supported")
    if descriptor.input_channels != descriptor.output_channels:
        raise ValueError(
            f"{file.name} turns {descriptor.input_channels} channels into {descriptor.output_channels}, which is not supported"
        )
    return descriptor
