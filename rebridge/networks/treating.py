"""A `careful` network that has been told what to treat.

Or one that has seen the whole picture.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rebridge.networks.impressions import Impression
from rebridge.networks.kinds import KINDS
from rebridge.networks.layers import Network
from rebridge.networks.lazy import LazyImages

if TYPE_CHECKING:
    from rebridge.networks.careful import Careful


class Treating(Network):
    """A `Careful` network that is told what to treat.

    Or one that has seen the whole picture of which it gets parts.

    Args:
        network: the network itself.
        kinds: what to treat; None for what the network finds.
        strength: share of the change that is made, in [0, 1].
        seen: `look` at the whole pictures.
        size: height and width of these, where parts of them are to say where they lie.

    Raises:
        ValueError: for a kind that is not one of `KINDS`, and for a strength outside [0, 1].
    """

    def __init__(
        self,
        network: "Careful",
        kinds: Sequence[str] | None = None,
        strength: float = 1.0,
        seen: Impression | None = None,
        size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        unknown = [kind for kind in kinds or () if kind not in KINDS]
        if unknown or (kinds is not None and not kinds):
            raise ValueError(f"kinds must be some of {', '.join(KINDS)}, got {', '.join(unknown) or 'none'}")
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must lie in [0, 1], got {strength:g}")
        self.network = network
        self.channels = network.channels
        self.multiple = network.multiple
        self.context = network.context
        self.examined = network.examined
        self.treated = kinds
        self.strength = strength
        self.seen = seen
        self.size = size

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Residual of the clean estimate, (B, 3, H, W)."""
        residual: Tensor = self.network(x, t, y, self._told(y), self.strength, self.seen)
        return residual

    def _told(self, y: Tensor | LazyImages) -> Tensor | None:
        """What to treat in each picture, (B, kinds); None for what is found."""
        if self.treated is None:
            return None
        device = next(self.network.parameters()).device
        return torch.tensor([[float(kind in self.treated) for kind in KINDS]], device=device).expand(len(y), -1)

    def diagnose(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Network.diagnose`; kinds that were named are treated, whatever is found.

        What was seen already is not looked at again.
        """
        seen = self.seen
        if seen is None or seen.is_blank:
            seen = self.network.look(y, self.treated is None)
        probabilities, treated = self.network.diagnosed(seen)
        named = self._told(y)
        return probabilities, treated if named is None else named

    def treating(self, kinds: Sequence[str], strength: float = 1.0) -> "Treating":
        """See `Careful.treating`: the last word counts."""
        return Treating(self.network, kinds, strength, self.seen, self.size)

    def seeing(self, y: Tensor | LazyImages) -> "Treating":
        """See `Careful.seeing`; what has seen its pictures does not look again."""
        if self.seen is not None:
            return self
        seen = self.network.looking(y, self._told(y))
        return Treating(self.network, self.treated, self.strength, seen, y.shape[-2:])

    def part(self, rows: slice, columns: slice) -> "Treating":
        """See `Network.part`.

        Its features are those of the whole, where these are at hand.
        """
        if self.seen is None or self.size is None:
            return self
        seen = self.seen.of_part(rows, columns, self.size, self.network.spare)
        return Treating(self.network, self.treated, self.strength, seen)
