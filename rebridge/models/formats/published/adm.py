"""ADM (guided-diffusion) at 256 pixels as a prior of ImageNet or of FFHQ's faces.

The network predicts the noise, and the variance behind it, at the index 0 ... 999 of the linear schedule. Dhariwal and Nichol,
arXiv 2105.05233; openai/guided-diffusion. The FFHQ weights are those of DPS (Chung et al., arXiv 2209.14687).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.models.formats.published import carried
from rebridge.models.formats.published.base import Converted, Dialect, Family, Request, dialect, official, single
from rebridge.models.formats.published.lookup import prefix_of
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.formats.published.renaming import under

LINEAR_VP = {"name": "vp", "steps": 1000, "schedule": "linear"}
ADM_ANCHOR = "input_blocks.0.0.weight"
ADM_HEAD_WIDTH = 64
"""Channels of an attention head in every published file; the weights do not hold it."""


class NoiseDialect(Dialect):
    """Clean estimate (x_t - gamma n)/alpha from the noise n that a prior predicts.

    y has no part in it.
    """

    conditional: ClassVar[bool] = False
    optional_condition = True

    def noise(self, x: Tensor, index: Tensor) -> Tensor:
        """The predicted noise."""
        raise NotImplementedError("a prior defines noise(x, index)")

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Estimate x0 in [-1, 1] units; states (B, 3, H, W), t (B,)."""
        c = self.coefficients(t, x)
        return (x - c.gamma * self.noise(x, self.index(t).to(x.device))) / c.alpha


class AdmDialect(NoiseDialect):
    """ADM as a prior on the variance-preserving process.

    Args:
        bridge: Process, by default the published one.
        label: Class of the images, for a network that was trained with labels.
        **network: Parameters of `carried.AdmUNet`.
    """

    family: ClassVar[str] = "adm"

    def __init__(self, bridge: Mapping[str, Any] = LINEAR_VP, label: int | None = None, **network: Any) -> None:
        built = carried.AdmUNet(**network)
        super().__init__(bridge, built, 3, built.multiple)
        self.classes = built.classes
        self.label = label

    def noise(self, x: Tensor, index: Tensor) -> Tensor:
        """The predicted noise; ValueError for a network with labels of which none is set."""
        labels = None
        if self.classes is not None:
            if self.label is None:
                raise ValueError(f"this prior knows {self.classes} classes: choose one by `label`")
            labels = torch.full((len(x),), self.label, dtype=torch.long, device=x.device)
        return carried.with_variance(self.run(x, index, labels), self.channels)


def adm_prefix(state: StateDict) -> str | None:
    """Find what stands before ADM's names; None if the file holds another network."""
    prefix = prefix_of(state, ADM_ANCHOR)
    if prefix is None or prefix + "input_blocks.1.0.in_layers.0.weight" not in state:
        return None
    foreign = ("patch_embed", "transformer_blocks", "relative_position")
    return None if any(word in name for name in state for word in foreign) else prefix


def detect(states: Sequence[StateDict]) -> bool:
    """Recognise a prior: one file, ADM's names without a prefix, three channels in."""
    if len(states) != 1 or adm_prefix(states[0]) != "":
        return False
    weight = states[0][ADM_ANCHOR]
    return weight.ndim == 4 and weight.shape[1] == 3


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """A prior from its only file."""
    file = single(weights)
    sizes = carried.adm_sizes(file.state, int(request.options.get("head_width", ADM_HEAD_WIDTH)))
    new_order = bool(request.options.get("new_order", False))
    renamed = carried.adm_renamed(file.state, sizes, new_order)
    label = request.options.get("label")
    config = {"bridge": LINEAR_VP, "label": None if label is None else int(label), **sizes}
    network = dialect("adm", AdmDialect, config, renamed, request.dtype)
    faces = sizes["width"] == 128 and sizes["blocks"] == 1
    notes = ("It was trained with labels: choose one by `label`.",) if sizes["classes"] and label is None else ()
    return Converted(
        family="adm",
        network=network,
        sampler=official("dbim", steps=250, eta=1.0),
        tasks=(),
        source="https://github.com/DPS2022/diffusion-posterior-sampling (arXiv 2209.14687)"
        if faces
        else "https://github.com/openai/guided-diffusion (arXiv 2105.05233)",
        licence="MIT",
        weights_licence="none given" if faces else "MIT; the model card allows research only",
        taken=file.taken,
        clamp=True,
        notes=notes,
    )


def without_prefix(state: StateDict, prefix: str) -> StateDict:
    """The weights under a prefix; all of them for an empty one."""
    return under(state, prefix) if prefix else dict(state)


ADM_FAMILY = Family(
    name="adm",
    title="a prior of guided-diffusion (ADM)",
    detect=detect,
    convert=_convert,
    build=AdmDialect,
    options=("head_width", "new_order", "label"),
)
