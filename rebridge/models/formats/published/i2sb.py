"""I2SB on ImageNet at 256 pixels: nine restorations by ADM.

The network predicts (x_t - x0)/sigma_fwd.

sigma_fwd is the spread of the process counted from the clean end alone, gamma^2 = sigma_fwd^2 alpha; time is told as
1000 (1e-4 + (1 - 1e-4) t). The weights hold neither the largest beta nor whether the deterministic process was trained; both
go by the task. Liu et al., arXiv 2302.05872; NVlabs/I2SB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.models.formats.published import carried
from rebridge.models.formats.published.adm import ADM_HEAD_WIDTH, adm_prefix
from rebridge.models.formats.published.base import (
    Converted,
    Dialect,
    Family,
    Request,
    choose,
    dialect,
    official,
    process,
    single,
)
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.formats.published.renaming import under

_TASKS: dict[str, tuple[str, float, bool]] = {
    "jpeg-10": ("jpeg", 0.3, False),
    "jpeg-5": ("jpeg", 0.3, False),
    "sr4x-pool": ("sr4", 0.3, False),
    "sr4x-bicubic": ("sr4", 0.3, False),
    "blur-uni": ("blur", 1.0, True),
    "blur-gauss": ("blur", 1.0, True),
    "inpaint-center": ("inpaint", 1.0, True),
    "inpaint-freeform1020": ("inpaint", 1.0, True),
    "inpaint-freeform2030": ("inpaint", 1.0, True),
}
"""Of each published file: the task here, beta_max, and whether it is the deterministic (OT-ODE) process."""
FIRST_LEVEL = 1e-4


class I2SBDialect(Dialect):
    """x0 = x_t - sigma_fwd F(x_t), or F([x_t, y]) for networks with six channels in.

    Args:
        bridge: Process, i2sb with the file's beta_max; modulation zero for the deterministic process.
        **network: Parameters of `carried.AdmUNet`.
    """

    family: ClassVar[str] = "i2sb"

    def __init__(self, bridge: Mapping[str, Any], **network: Any) -> None:
        built = carried.AdmUNet(**network)
        super().__init__(bridge, built, 3, built.multiple)
        self.sees_degraded = built.inputs == 6
        self.noisy = process({**bridge, "modulation": "one"})

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Estimate x0 in [-1, 1] units; images (B, 3, H, W), t (B,)."""
        c = self.noisy.coefficients(t)
        spread = (c.gamma / c.alpha.sqrt()).to(x).reshape(-1, 1, 1, 1)
        level = (1000 * (FIRST_LEVEL + (1 - FIRST_LEVEL) * t.double())).to(x.device, torch.float32)
        result: Tensor = x - spread * self.run(torch.cat([x, y], dim=1) if self.sees_degraded else x, level)
        return result


def detect(states: Sequence[StateDict]) -> bool:
    """Recognise one file of ADM under the name diffusion_model."""
    return len(states) == 1 and (adm_prefix(states[0]) or "").endswith("diffusion_model.")


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """I2SB from latest.pt; options.pkl is not needed, the task says what it would."""
    file = single(weights)
    task, beta_max, deterministic = _TASKS[choose(request, _TASKS, "jpeg-10")]
    beta_max = float(request.options.get("beta_max", beta_max))
    state = under(file.state, adm_prefix(file.state) or "")
    sizes = carried.adm_sizes(state, int(request.options.get("head_width", ADM_HEAD_WIDTH)))
    modulation = "zero" if bool(request.options.get("ot_ode", deterministic)) else "one"
    config = {"bridge": {"name": "i2sb", "steps": 1000, "beta_max": beta_max, "modulation": modulation}, **sizes}
    renamed = carried.adm_renamed(state, sizes, new_order=False)
    network = dialect("i2sb", I2SBDialect, config, renamed, request.dtype)
    return Converted(
        family="i2sb",
        network=network,
        sampler=official("dbim", steps=999, eta=0.0 if modulation == "zero" else 1.0),
        tasks=(task,),
        source="https://github.com/NVlabs/I2SB (arXiv 2302.05872)",
        licence="NVIDIA source code licence, non-commercial",
        weights_licence="CC BY-NC-SA 4.0",
        taken=file.taken,
        notes=(
            f"beta_max {beta_max:g} and the {'deterministic' if modulation == 'zero' else 'noisy'} process go by the task; "
            f"the tasks are {', '.join(_TASKS)}.",
            *(
                ("The holes of an inpainting task are filled with noise before the start.",)
                if task == "inpaint"
                else ()
            ),
        ),
    )


I2SB_FAMILY = Family(
    name="i2sb",
    title="I2SB",
    detect=detect,
    convert=_convert,
    build=I2SBDialect,
    options=("beta_max", "ot_ode", "head_width"),
    tasks=tuple(_TASKS),
)
