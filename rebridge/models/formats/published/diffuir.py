"""DiffUIR, unet_sizes T, S, B and L: one U-Net for five tasks, in three steps.

The network sees [x_t, y] in [-1, 1] at the time 1000 A(t), with A = 1 - alpha the running sum of the authors' weights of the
residual, and predicts y - x0, clamped to [-1, 1]. Zheng et al., arXiv 2403.11157; iSEE-Laboratory/DiffUIR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.models.formats.published.base import Converted, Dialect, Family, Request, dialect, official, single
from rebridge.models.formats.published.lookup import channels_out, prefix_of
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.formats.published.renaming import LUCIDRAINS, count, flat_gains, rename, under
from rebridge.networks.unet import UNet

_TASKS = ("rain", "snow", "haze", "lowlight", "blur")
_BRIDGE = {"name": "diffuir", "steps": 1000, "delta_end": 1.8e-3}


class DiffUIRDialect(Dialect):
    """y minus the clamped residual that DiffUIR's U-Net predicts.

    Args:
        bridge: Process, by default the published one.
        width: Features of the finest level.
        multipliers: Multiples of `width`, one per level.
    """

    family: ClassVar[str] = "diffuir"

    def __init__(
        self, bridge: Mapping[str, Any] = _BRIDGE, width: int = 64, multipliers: Sequence[int] = (1, 2, 4, 8)
    ) -> None:
        network = UNet(3, width, multipliers, steps=1, add_input=False, released=True)
        super().__init__(bridge, network, 3, network.multiple)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Estimate x0 in [-1, 1] units, not clamped; images (B, 3, H, W), t (B,)."""
        faded = 1 - self.bridge.coefficients(t).alpha
        residual: Tensor = self.run(x, (1000 * faded).to(x.device, torch.float32), y)
        return y - residual.clamp(-1, 1)


def detect(states: Sequence[StateDict]) -> bool:
    """Recognise one file with a first U-Net with norms in its blocks and no second."""
    if len(states) != 1:
        return False
    prefix = prefix_of(states[0], "unet0.init_conv.weight")
    normed = prefix is not None and f"{prefix}unet0.downs.0.0.block1.norm.weight" in states[0]
    return normed and f"{prefix}unet1.init_conv.weight" not in states[0]


def unet_sizes(state: StateDict) -> dict[str, Any]:
    """Width and multipliers of a U-Net by the authors' names."""
    width = channels_out(state, "init_conv.weight")
    levels = count(state, r"downs\.(\d+)\.")
    return {"width": width, "multipliers": [channels_out(state, f"downs.{i}.3.weight") // width for i in range(levels)]}


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """DiffUIR from its only file."""
    file = single(weights)
    prefix = prefix_of(file.state, "unet0.init_conv.weight") or ""
    state = under(file.state, f"{prefix}unet0.")
    config = {"bridge": _BRIDGE, **unet_sizes(state)}
    renamed = flat_gains(rename(state, LUCIDRAINS))
    network = dialect("diffuir", DiffUIRDialect, config, renamed, request.dtype)
    return Converted(
        family="diffuir",
        network=network,
        sampler=official("increments", steps=3, grid="index", hold=True, start_noise=0.1),
        tasks=_TASKS,
        source="https://github.com/iSEE-Laboratory/DiffUIR (arXiv 2403.11157)",
        licence="MIT",
        weights_licence="none given",
        taken=file.taken,
    )


DIFFUIR_FAMILY = Family(
    name="diffuir", title="DiffUIR", detect=detect, convert=_convert, build=DiffUIRDialect, tasks=_TASKS
)
