"""Samplers that use a generative prior without a bridge: DDIM and SDEdit.

They decide whether a bridge adds anything: IRBridge is stochastic DDIM of the conditional prior with a start of its own
(derived). So with the same network and as many evaluations the two to beat are DDIM from pure noise, and DDIM from the degraded
image under noise (SDEdit, arXiv 2108.01073). Both are called as sampler(process, prior, y) with the prior's own process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.samplers.base import Walk
from rebridge.samplers.dbim import DBIM


@dataclass(frozen=True, kw_only=True)
class DDIM(DBIM):
    """Generation from pure noise, given y where the prior sees it (arXiv 2010.02502).

    Args:
        eta: share of fresh noise, in [0, 1]; other parameters as those of `dbim`.
    """

    name: ClassVar[str] = "ddim"
    walks_prior: ClassVar[bool] = True

    steps: int = 25


@dataclass(frozen=True, kw_only=True)
class SDEdit(DBIM):
    """DDIM from an intermediate time, with y in the place of x0 (arXiv 2108.01073).

    Args:
        strength: time of the process to begin at, in (0, 1]; other parameters as those of `dbim`.
    """

    name: ClassVar[str] = "sdedit"
    walks_prior: ClassVar[bool] = True

    steps: int = 25
    strength: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength must lie in (0, 1], got {self.strength}")

    def times(self, bridge: Bridge) -> Tensor:
        """Compute the named grid, shortened to begin at `strength` instead of 1."""
        return self.strength * super().times(bridge)

    def begin(self, walk: Walk, x: Tensor | None, times: Tensor) -> tuple[Tensor, Tensor]:
        """Put y under the noise of the first time, unless a state is given."""
        if x is None:
            first = times[:1].expand(len(walk.y))
            x = walk.bridge.forward(walk.y, walk.y, first, walk.noise())
        return x, times
