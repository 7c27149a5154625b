"""The size of a network, and the cost of one evaluation."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from rebridge.networks.conditions import blank, conditions_of
from rebridge.networks.layers import Network


@dataclass(frozen=True)
class Cost:
    """Parameters of a network, and operations of one evaluation on one image.

    Attributes:
        parameters: how many there are.
        flops: floating point operations of convolutions and matrix products; a multiplication and an addition count as two.
    """

    parameters: int
    flops: int

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations, which papers on restoration often call FLOPs."""
        return self.flops // 2


def cost(network: nn.Module, height: int = 256, width: int = 256) -> Cost:
    """Count parameters and operations of a network, without computing anything.

    Args:
        network: any; it is evaluated on one image.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Raises:
        ValueError: a side below 1.
    """
    from torch.utils.flop_counter import FlopCounterMode

    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} and {width}")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    shapes_only = copy.deepcopy(network).to("meta").eval().requires_grad_(False)
    image = torch.zeros(1, network.channels if isinstance(network, Network) else 3, height, width, device="meta")
    declared = conditions_of(network.conditions) if isinstance(network, Network) else {}
    told = blank(declared, 1, (height, width), "meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes_only.float()(image, torch.ones(1, device="meta"), image, **told)
    return Cost(parameters, counter.get_total_flops())
