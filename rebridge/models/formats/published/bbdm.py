"""BBDM in the latent space of vq-f4: ADM predicts x_t - x0.

The time is told as the index 0 ... 999.

Some of its models see the degraded latent beside the state. Li et al., arXiv 2205.07680; xuekt98/BBDM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.models.formats.published import carried, vq
from rebridge.models.formats.published.adm import ADM_HEAD_WIDTH, adm_prefix
from rebridge.models.formats.published.base import Converted, Dialect, Family, Request, dialect, official
from rebridge.models.formats.published.errors import FormatError
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.formats.published.renaming import under

_BRIDGE = {"name": "brownian", "steps": 1000, "m_min": 0.001, "m_max": 0.999, "max_var": 1.0}


class BBDMDialect(Dialect):
    """x0 = x_t - F(x_t), or F([x_t, y]) for networks that see the degraded latent.

    Args:
        bridge: Process, by default the published one.
        **network: Parameters of `carried.AdmUNet`.
    """

    family: ClassVar[str] = "bbdm"
    latent: ClassVar[bool] = True

    def __init__(self, bridge: Mapping[str, Any] = _BRIDGE, **network: Any) -> None:
        built = carried.AdmUNet(**network)
        super().__init__(bridge, built, built.outputs, built.multiple)
        self.sees_degraded = built.inputs > built.outputs

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Clean estimate of latents (B, C, H, W); t (B,)."""
        seen = torch.cat([x, y], dim=1) if self.sees_degraded else x
        result: Tensor = x - self.run(seen, self.index(t).to(x.device))
        return result


def detect(states: Sequence[StateDict]) -> bool:
    """Recognise ADM under the name denoise_fn in one of at most two files."""
    return len(states) <= 2 and any((adm_prefix(state) or "").endswith("denoise_fn.") for state in states)


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """BBDM from its file, with the autoencoder in it or in a second file."""
    file = next(file for file in weights if (adm_prefix(file.state) or "").endswith("denoise_fn."))
    spaces = [other.state for other in weights if vq.is_vq(other.state)]
    if len(weights) == 2 and not any(vq.is_vq(other.state) for other in weights if other is not file):
        raise FormatError("the second file is no VQ autoencoder")
    if any(name.startswith("cond_stage_model.") for name in file.state) and not spaces:
        raise FormatError("its condition is encoded by a network of its own, which is not supported")
    state = under(file.state, adm_prefix(file.state) or "")
    sizes = carried.adm_sizes(state, int(request.options.get("head_width", ADM_HEAD_WIDTH)))
    config = {"bridge": _BRIDGE, **sizes}
    renamed = carried.adm_renamed(state, sizes, new_order=False)
    network = dialect("bbdm", BBDMDialect, config, renamed, request.dtype)
    space = vq.autoencoder(spaces[-1], request) if spaces else None
    return Converted(
        family="bbdm",
        network=network,
        sampler=official("dbim", steps=200, eta=1.0),
        tasks=(),
        source="https://github.com/xuekt98/BBDM (arXiv 2205.07680)",
        licence="MIT",
        weights_licence="none given",
        taken=file.taken,
        autoencoder=space,
        notes=() if space is not None else ("The autoencoder is not in the file: give the VQ autoencoder's file too.",),
    )


BBDM_FAMILY = Family(
    name="bbdm", title="BBDM", detect=detect, convert=_convert, build=BBDMDialect, options=("head_width",)
)
