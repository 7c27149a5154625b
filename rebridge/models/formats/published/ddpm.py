"""DDPM's prior of CelebA-HQ faces at 256 pixels, celeba_hq.ckpt.

DDRM, DDNM and DeqIR use it.

It predicts the noise at the index 0 ... 999 of the linear schedule. Ho et al., arXiv 2006.11239; ermongroup/SDEdit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from rebridge.models.formats.published import carried
from rebridge.models.formats.published.adm import LINEAR_VP, NoiseDialect
from rebridge.models.formats.published.base import Converted, Family, Request, dialect, official, single
from rebridge.models.formats.published.lookup import prefix_of
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.formats.published.renaming import under


class DdpmDialect(NoiseDialect):
    """DDPM's U-Net as a prior on the variance-preserving process.

    Args:
        bridge: Process, by default the published one.
        **network: Parameters of `carried.DdpmUNet`.
    """

    family: ClassVar[str] = "ddpm"

    def __init__(self, bridge: Mapping[str, Any] = LINEAR_VP, **network: Any) -> None:
        built = carried.DdpmUNet(**network)
        super().__init__(bridge, built, 3, built.multiple)

    def noise(self, x: Tensor, index: Tensor) -> Tensor:
        """The predicted noise."""
        result: Tensor = self.run(x, index)
        return result


def detect(states: Sequence[StateDict]) -> bool:
    """Recognise one file with DDPM's layers of the time and levels down and up."""
    if len(states) != 1:
        return False
    prefix = prefix_of(states[0], "temb.dense.0.weight")
    return prefix is not None and prefix + "down.0.block.0.conv1.weight" in states[0]


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """A prior from its only file."""
    file = single(weights)
    state = under(file.state, prefix_of(file.state, "temb.dense.0.weight") or "")
    config = {"bridge": LINEAR_VP, **carried.ddpm_sizes(state)}
    renamed = carried.ddpm_renamed(state)
    network = dialect("ddpm", DdpmDialect, config, renamed, request.dtype)
    return Converted(
        family="ddpm",
        network=network,
        sampler=official("dbim", steps=100, eta=0.85),
        tasks=(),
        source="https://github.com/ermongroup/SDEdit (arXiv 2006.11239)",
        licence="MIT",
        weights_licence="none given",
        taken=file.taken,
        clamp=True,
    )


DDPM_FAMILY = Family(name="ddpm", title="a prior of DDPM", detect=detect, convert=_convert, build=DdpmDialect)
