"""DDBM for image translation, the weights that DBIM runs too.

ADM with queries, keys and values stored in the newer order sees [c_in x_t, y] at 250 ln t, and x0 = c_skip x_t + c_out F.
With the variance s^2 = 0.25 of either end and the process of the bridge, m^2 = (beta^2 + alpha^2) s^2 + gamma^2:

    c_in = 1/m,   c_skip = alpha s^2/m^2,   c_out = s sqrt(beta^2 s^2 + gamma^2)/m

Zhou et al., arXiv 2309.16948; alexzhou907/DDBM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.models.formats.published import carried
from rebridge.models.formats.published.adm import ADM_ANCHOR, ADM_HEAD_WIDTH, adm_prefix, without_prefix
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
from rebridge.models.formats.published.reading import StateDict, Weights

_VP = {"name": "ddbm-vp", "beta_d": 2.0, "beta_min": 0.1}
_TASKS = {"edges2handbags": 80.0, "diode": 20.0}
"""sigma_max of each, for the variance-exploding process."""
VARIANCE = 0.25


class DDBMDialect(Dialect):
    """Clean estimate by the preconditioned network.

    Args:
        bridge: Process: ddbm-vp as published, or ddbm-ve.
        **network: Parameters of `carried.AdmUNet`.
    """

    family: ClassVar[str] = "ddbm"

    def __init__(self, bridge: Mapping[str, Any] = _VP, **network: Any) -> None:
        built = carried.AdmUNet(**network)
        super().__init__(bridge, built, 3, built.multiple)
        self.horizon = float(self.bridge.params.get("sigma_max", 1.0))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Estimate x0 in [-1, 1] units; images (B, 3, H, W), t (B,)."""
        c = self.coefficients(t, x.double())
        ends = (c.alpha.square() + c.beta.square()) * VARIANCE
        square = ends + c.gamma.square()
        skip = (c.alpha * VARIANCE / square).to(x)
        scale = (VARIANCE * (c.beta.square() * VARIANCE + c.gamma.square()) / square).sqrt().to(x)
        time = 250 * torch.log(self.horizon * t.double() + 1e-44)
        seen = torch.cat([square.rsqrt().to(x) * x, y], dim=1)
        result: Tensor = skip * x + scale * self.run(seen, time.to(x.device, torch.float32))
        return result


def detect(states: Sequence[StateDict]) -> bool:
    """Recognise one file of ADM without a prefix, six channels in and three out."""
    if len(states) != 1 or adm_prefix(states[0]) != "":
        return False
    out = states[0].get("out.2.weight")
    return (
        states[0][ADM_ANCHOR].ndim == 4
        and states[0][ADM_ANCHOR].shape[1] == 6
        and out is not None
        and out.shape[0] == 3
    )


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """DDBM from its only file of averaged weights."""
    file = single(weights)
    task = choose(request, _TASKS, "edges2handbags")
    exploding = request.options.get("process", "vp") == "ve"
    bridge = {"name": "ddbm-ve", "sigma_max": _TASKS[task]} if exploding else _VP
    state = without_prefix(file.state, adm_prefix(file.state) or "")
    sizes = carried.adm_sizes(state, int(request.options.get("head_width", ADM_HEAD_WIDTH)))
    config = {"bridge": bridge, **sizes}
    renamed = carried.adm_renamed(state, sizes, new_order=True)
    network = dialect("ddbm", DDBMDialect, config, renamed, request.dtype)
    return Converted(
        family="ddbm",
        network=network,
        sampler=official("heun-churn", steps=40, grid="karras"),
        tasks=(task,),
        source="https://huggingface.co/alexzhou907/DDBM (arXiv 2309.16948)",
        licence="none given",
        weights_licence="none given",
        taken=file.taken,
        clamp=True,
        notes=("The process is not in the weights: vp as published, process=ve for weights trained so.",),
    )


DDBM_FAMILY = Family(
    name="ddbm",
    title="DDBM",
    detect=detect,
    convert=_convert,
    build=DDBMDialect,
    options=("process", "head_width"),
    tasks=tuple(_TASKS),
)
