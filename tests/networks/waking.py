"""Small careful networks whose first weights are not zero, and what they may be told."""

import torch
from torch import Tensor

from rebridge import networks
from rebridge.networks.careful import Careful
from rebridge.networks.kinds import KINDS

SIZES = {"widths": [8, 12, 16], "blocks": [1, 1], "middle": 1, "features": 16}


def awake(**told: bool) -> Careful:
    """A network of random weights, in eval mode."""
    torch.manual_seed(0)
    network = networks.create("careful", **SIZES, **told)
    assert isinstance(network, Careful)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def named(*kinds: str) -> Tensor:
    """What one picture is to be treated for, (1, kinds)."""
    return torch.tensor([[float(kind in kinds) for kind in KINDS]])
