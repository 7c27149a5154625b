"""RDDM: U-Nets that predict the residual y - x0 and the noise.

They see [x_t, y] in [-1, 1]; how time is counted differs between the authors' experiments. The sampler uses both predictions, so
the estimate carries the noise along. Liu et al., arXiv 2308.13712; nachifur/RDDM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.denoisers import Estimate
from rebridge.models.formats.published.base import (
    Converted,
    Dialect,
    Family,
    Request,
    choose,
    dialect,
    official,
    single,
)
from rebridge.models.formats.published.diffuir import unet_sizes
from rebridge.models.formats.published.lookup import prefix_of
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.formats.published.renaming import LUCIDRAINS, flat_gains, rename, under
from rebridge.networks.rddm import SharedEncoder, TwoUNets
from rebridge.networks.unet import UNet

_BRIDGE = {"name": "rddm", "steps": 1000, "sum_scale": 1.0}
TIMES = ("index", "cumulative")
_FORMS = ("two", "shared", "single")
_TASKS: dict[str, dict[str, Any]] = {
    "raindrop": {"time": "index", "steps": 5, "sum_scale": 1.0},
    "inpaint": {"time": "cumulative", "steps": 10, "sum_scale": 1.0},
    "lowlight": {"time": "index", "steps": 2, "sum_scale": 1.0},
}
"""The authors' experiments 2, 4 and 3: how time is counted, steps, variance of the noise at the start."""
SECOND_DECODER = (
    (r"^ups_no_skip\.", "second.ups."),
    (r"^final_res_block_1\.", "second.final_res_block."),
    (r"^final_conv_1\.", "second.final_conv."),
    (r"^final_res_block_2\.", "final_res_block."),
    (r"^final_conv_2\.", "final_conv."),
)


class RDDMDialect(Dialect):
    """y minus the predicted residual, with the predicted noise.

    Args:
        bridge: Process, by default the published one.
        width: Features of the finest level.
        multipliers: Multiples of `width`, one per level.
        form: "two" U-Nets, one with a "shared" encoder, or a "single" one that predicts the residual alone.
        time: "index" counts 0 ... 999; "cumulative" gives each head its own 1000 A(t) and 1000 B(t), the weights of
            residual and noise in the state.
    """

    family: ClassVar[str] = "rddm"

    def __init__(
        self,
        bridge: Mapping[str, Any] = _BRIDGE,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 4, 8),
        form: str = "two",
        time: str = "index",
    ) -> None:
        if time not in TIMES or form not in _FORMS:
            raise ValueError(
                f"time must be index or cumulative and form {', '.join(_FORMS)}, got {time!r} and {form!r}"
            )
        network: TwoUNets | SharedEncoder | UNet
        if form == "single":
            network = UNet(3, width, multipliers, steps=1, add_input=False, released=True)
        else:
            network = (TwoUNets if form == "two" else SharedEncoder)(3, width, multipliers)
        super().__init__(bridge, network, 3, network.multiple)
        self.time = time
        self.form = form

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Any:
        """Estimate x0, with the noise where that is predicted too.

        Images (B, 3, H, W), t (B,).
        """
        first = second = self.index(t)
        if self.time == "cumulative":
            c = self.bridge.coefficients(t)
            first, second = 1000 * (1 - c.alpha), 1000 * c.gamma
        first, second = (index.to(x.device, torch.float32) for index in (first, second))
        if self.form == "single":
            return y - self.run(x, first, y).clamp(-1, 1)
        residual, noise = self.run(x, first, y, second)
        return Estimate(y - residual.clamp(-1, 1), noise)


def detect(states: Sequence[StateDict]) -> bool:
    """Recognise one file with two U-Nets, or with a second decoder without skips."""
    if len(states) != 1:
        return False
    two = prefix_of(states[0], "unet1.init_conv.weight") is not None
    return two or prefix_of(states[0], "ups_no_skip.0.0.block1.proj.weight") is not None


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """RDDM from its only file; the task says how time is counted."""
    file = single(weights)
    task = choose(request, _TASKS, "raindrop")
    settings = _TASKS[task] | dict(request.options)
    form, renamed, found = _renamed(file.state)
    bridge = _BRIDGE | {"sum_scale": float(settings["sum_scale"])}
    config = {"bridge": bridge, **found, "form": form, "time": settings["time"]}
    network = dialect("rddm", RDDMDialect, config, renamed, request.dtype)
    notes = ["How time is counted is not in the weights, it goes by the task: raindrop, inpaint or lowlight."]
    if task == "lowlight":
        notes.append("The authors equalise the histogram of dark images before they restore them.")
    return Converted(
        family="rddm",
        network=network,
        sampler=official("increments", steps=int(settings["steps"]), grid="index"),
        tasks=(task,),
        source="https://github.com/nachifur/RDDM (arXiv 2308.13712)",
        licence="none given",
        weights_licence="none given",
        taken=file.taken,
        notes=tuple(notes),
    )


def _renamed(state: StateDict) -> tuple[str, StateDict, dict[str, Any]]:
    """Form, weights by our names and unet_sizes."""
    prefix = prefix_of(state, "ups_no_skip.0.0.block1.proj.weight")
    if prefix is not None:
        state = under(state, prefix)
        return "shared", _shared(state), unet_sizes(state)
    prefix = prefix_of(state, "unet0.init_conv.weight") or ""
    parts = {"unet0.": "residual.", "unet1.": "noise."}
    form = "two" if prefix_of(state, "unet1.init_conv.weight") is not None else "single"
    if form == "single":
        parts = {"unet0.": ""}
    renamed: StateDict = {}
    for theirs, ours in parts.items():
        part = flat_gains(rename(under(state, prefix + theirs), LUCIDRAINS))
        renamed |= {ours + name: value for name, value in part.items()}
    return form, renamed, unet_sizes(under(state, f"{prefix}unet0."))


def _shared(state: StateDict) -> StateDict:
    parts = rename(state, SECOND_DECODER)
    second = flat_gains(rename(under(parts, "second."), LUCIDRAINS))
    first = {name: value for name, value in parts.items() if not name.startswith("second.")}
    renamed = {f"noise.{name}": value for name, value in flat_gains(rename(first, LUCIDRAINS)).items()}
    return renamed | second


RDDM_FAMILY = Family(
    name="rddm",
    title="RDDM",
    detect=detect,
    convert=_convert,
    build=RDDMDialect,
    options=("time", "steps", "sum_scale"),
    tasks=tuple(_TASKS),
)
