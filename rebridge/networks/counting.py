"""How big a network is and what one call of it costs."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Parameters of a network and the floating point operations of one call on one image.

    flops counts a multiplication and an addition as two, macs as one; convolutions and matrix products only.
    """

    parameters: int
    flops: int

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations, which papers on restoration often call FLOPs."""
        return self.flops // 2


def cost(network: nn.Module, height: int = 256, width: int = 256) -> Cost:
    """Cost of one call of the network on a single image of height x width pixels."""
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} and {width}")
    parameters = list(network.parameters())
    like = parameters[0] if parameters else torch.zeros(())
    image = torch.zeros(1, int(getattr(network, "channels", 3)), height, width, dtype=like.dtype, device=like.device)
    training = network.training
    network.eval()
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image, torch.ones(1, device=like.device), image)
    finally:
        network.train(training)
    return Cost(sum(parameter.numel() for parameter in parameters), counter.get_total_flops())
