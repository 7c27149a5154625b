"""Networks that a denoiser wraps: forward(x, t, y) for images of any size."""

from rebridge.networks.catalogue import completed, create, names, parameters, rebuild, register, summary
from rebridge.networks.conditions import Condition
from rebridge.networks.counting import Cost, cost
from rebridge.networks.layers import Network

__all__ = [
    "Condition",
    "Cost",
    "Network",
    "completed",
    "cost",
    "create",
    "names",
    "parameters",
    "rebuild",
    "register",
    "summary",
]
