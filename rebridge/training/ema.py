"""A running average of the weights.

It restores better than the weights themselves.

After step k the average is `d average + (1 - d) weights` with `d = min(decay, (1 + k) / (10 + k))`: the warm-up lets
the random initial weights be forgotten quickly.
"""

import copy

import torch
from torch import Tensor, nn


class Ema:
    """The average of a network's weights, as a network of its own.

    `module` is in eval mode and has no gradients.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.module = copy.deepcopy(network).eval().requires_grad_(False)

    def decay_at(self, step: int) -> float:
        """The share of the average that survives step number `step`, from 0."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the weights of `network` after step number `step`.

        Buffers are copied.
        """
        averages: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(averages, weights, 1 - self.decay_at(step))
        for average, buffer in zip(self.module.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)
