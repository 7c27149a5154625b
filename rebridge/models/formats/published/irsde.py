"""IR-SDE, GOUB, UniDB and Refusion: noise predictors on [0, 1] images.

They see [x_t - y, y] and the index of the time, 1 ... T.

The four share two networks, which the weights distinguish; the process that a file was trained on is not in them, so the user
says it. The variants for denoising see the state alone, a noisy image whose noise level is a time. arXiv 2301.11699, 2304.08291,
2312.10299, 2502.05749; Algolzw/image-restoration-sde, Hammour-steak/GOUB, UniDB-SOC/UniDB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rebridge.bridges.schedules import theta_clock
from rebridge.bridges.tabulated import inverse
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
from rebridge.models.formats.published.lookup import channels_in, channels_out, prefix_of
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.formats.published.renaming import LUCIDRAINS, count, flat_gains, rename, under
from rebridge.networks.conditional_nafnet import ConditionalNAFNet
from rebridge.networks.conditional_unet import ConditionalUNet

NAFNET = (
    (r"^intro\.", "head."),
    (r"^ending\.", "tail."),
    (r"^time_mlp\.1\.", "time.first."),
    (r"^time_mlp\.3\.", "time.second."),
    (r"^encoders\.", "descent."),
    (r"^decoders\.", "ascent."),
    (r"^middle_blks\.", "middle."),
    (r"^ups\.(\d+)\.0\.", r"up.\1."),
    (r"^downs\.", "down."),
    (r"\.beta$", ".gain"),
    (r"\.gamma$", ".second_gain"),
    (r"\.mlp\.1\.", ".modulate."),
    (r"\.conv1\.", ".enter."),
    (r"\.conv2\.", ".look."),
    (r"\.conv3\.", ".leave."),
    (r"\.sca\.1\.", ".attend."),
    (r"\.conv4\.", ".second_enter."),
    (r"\.conv5\.", ".second_leave."),
    (r"\.norm1\.g$", ".norm.gain"),
    (r"\.norm2\.g$", ".second_norm.gain"),
)
SIGMAS: dict[str, dict[str, float]] = {
    "ir-sde": {"rain": 10, "blur": 10, "sr4": 30, "inpaint": 30, "shadow": 30},
    "refusion": {"rain": 50, "blur": 50, "sr4": 50, "inpaint": 50, "shadow": 50, "haze": 50},
    "goub": {"rain": 30, "sr4": 30, "inpaint": 30},
    "unidb": {"rain": 30, "sr4": 30, "inpaint": 30},
}
"""max_sigma (or lambda) of each published task, of 255."""
GAMMA_INVERSE = {"rain": 1e-8, "sr4": 1e-7, "inpaint": 1e-7}
PROCESSES = {"ir-sde": "ir-sde", "refusion": "ir-sde", "goub": "goub", "unidb": "unidb"}
DENOISING_SIGMA, DENOISING_STEPS, DENOISING_REST = 70.0, 1000, 0.04
"""max_sigma and T of training (the authors' settings for testing disagree), and exp(-tb) at the end."""


class IRSDEDialect(Dialect):
    """Clean estimate (x_t - beta y - gamma n)/alpha; y where alpha is 0.

    Args:
        bridge: Process: ir-sde, goub or unidb.
        network: {"name": "unet" or "nafnet", **parameters} of the network.
    """

    family: ClassVar[str] = "ir-sde"

    def __init__(self, bridge: Mapping[str, Any], network: Mapping[str, Any]) -> None:
        built = _network(network)
        super().__init__(bridge, built, int(built.channels), int(built.multiple))  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Estimate x0 in [0, 1] units; images (B, C, H, W), t (B,)."""
        c = self.coefficients(t, x)
        noise = self.run(x, (t.double() * self.bridge.params["steps"]).float(), y)
        regular = c.alpha > 0
        return torch.where(regular, (x - c.beta * y - c.gamma * noise) / torch.where(regular, c.alpha, 1.0), y)


class DenoisingDialect(Dialect):
    """Clean estimate x_t - gamma n on the variance-exploding process, without y.

    States are in [-1, 1] here and in [0, 1] for the network. The noise level of a state gives its index in the authors' schedule,
    sigma = max_sigma sqrt(1 - exp(-2 tb)).

    Args:
        bridge: {"name": "ve", "sigma_max": 2 max_sigma / 255}.
        network: {"name": "unet" or "nafnet", **parameters} of the network.
        steps: T of the authors' schedule.
    """

    family: ClassVar[str] = "ir-sde-denoising"
    conditional: ClassVar[bool] = False
    optional_condition = True

    def __init__(self, bridge: Mapping[str, Any], network: Mapping[str, Any], steps: int = DENOISING_STEPS) -> None:
        built = _network(network)
        super().__init__(bridge, built, int(built.channels), int(built.multiple))  # type: ignore[arg-type]
        self.steps = steps

    @cached_property
    def _clock(self) -> Tensor:
        return theta_clock("cosine", self.steps, DENOISING_REST, cumulative=True).values

    def index_of(self, sigma: Tensor) -> Tensor:
        """Find the index at which the authors' process has a share of max_sigma.

        Any shape, float64; fractions in between.
        """
        wanted = -0.5 * torch.log1p(-sigma.double().square().clamp(max=1 - DENOISING_REST**2))
        clock = self._clock.to(sigma.device)
        return inverse(torch.arange(self.steps + 1, dtype=torch.float64, device=sigma.device), clock, wanted)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Estimate x0 in [-1, 1] units; states (B, C, H, W), t (B,)."""
        c = self.coefficients(t, x)
        full = float(self.bridge.params["sigma_max"])
        index = self.index_of(self.bridge.coefficients(t).gamma / full)
        image = (x + 1) / 2
        noise: Tensor = self.run(image, index.float().to(x.device), image)
        return x - c.gamma * noise


def _network(config: Mapping[str, Any]) -> nn.Module:
    params = {key: value for key, value in config.items() if key != "name"}
    return ConditionalUNet(**params) if config["name"] == "unet" else ConditionalNAFNet(**params)


def read_network(state: StateDict) -> tuple[dict[str, Any], StateDict]:
    """The network's configuration and its weights by our names, from the authors'."""
    prefix = prefix_of(state, "mid_block1.block1.proj.weight")
    if prefix is not None:
        state = under(state, prefix)
        width, image = channels_out(state, "init_conv.weight"), channels_out(state, "final_conv.weight")
        conditional = "mid_attn.fn.fn.to_out.0.weight" in state
        depth = count(state, r"downs\.(\d+)\.")
        config = {"name": "unet", "channels": image, "width": width, "depth": depth, "conditional": conditional}
        return config, flat_gains(rename(state, LUCIDRAINS))
    state = under(state, prefix_of(state, "intro.weight") or "")
    width, image = channels_out(state, "intro.weight"), channels_out(state, "ending.weight")
    levels = count(state, r"encoders\.(\d+)\.")
    config = {
        "name": "nafnet",
        "channels": image,
        "width": width,
        "encoder": [count(state, rf"encoders\.{i}\.(\d+)\.") for i in range(levels)],
        "middle": count(state, r"middle_blks\.(\d+)\."),
        "decoder": [count(state, rf"decoders\.{i}\.(\d+)\.") for i in range(levels)],
        "conditional": channels_in(state, "intro.weight") == 2 * image,
    }
    return config, flat_gains(rename(state, NAFNET))


def is_unet(states: Sequence[StateDict]) -> bool:
    """Recognise one ConditionalUNet: lucidrains' layout without norms in blocks."""
    if len(states) != 1:
        return False
    prefix = prefix_of(states[0], "mid_block1.block1.proj.weight")
    return prefix is not None and prefix + "mid_block1.block1.norm.weight" not in states[0] and "unet" not in prefix


def is_nafnet(states: Sequence[StateDict]) -> bool:
    """Recognise one ConditionalNAFNet: NAFNet's layout with layers of the time."""
    if len(states) != 1:
        return False
    prefix = prefix_of(states[0], "intro.weight")
    return prefix is not None and prefix + "time_mlp.1.weight" in states[0]


def _conditional(states: Sequence[StateDict]) -> bool:
    return bool(read_network(states[0])[0]["conditional"])


def detect(family: str, states: Sequence[StateDict]) -> bool:
    """Recognise a network that the family uses, with a condition or without."""
    if family == "ir-sde-denoising":
        return (is_unet(states) or is_nafnet(states)) and not _conditional(states)
    networks = is_nafnet(states) if family == "refusion" else is_unet(states) or is_nafnet(states)
    return networks and _conditional(states)


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """Convert a conditional model from its only file.

    The family says on which process it was trained, the task its noise level.
    """
    file = single(weights)
    network_config, state = read_network(file.state)
    sigmas = SIGMAS[request.family]
    task = choose(request, sigmas, "rain")
    sigma = float(request.options.get("max_sigma", sigmas[task]))
    bridge: dict[str, Any] = {"name": PROCESSES[request.family], "lam": sigma / 255, "steps": 100, "schedule": "cosine"}
    if request.family == "unidb":
        bridge["gamma_inv"] = float(request.options.get("gamma_inv", GAMMA_INVERSE[task]))
    config = {"bridge": bridge, "network": network_config}
    renamed = state
    network = dialect(request.family, IRSDEDialect, config, renamed, request.dtype)
    posterior = request.family == "ir-sde" and task == "rain"
    source, licence, _ = SOURCES[request.family]
    return Converted(
        family=request.family,
        network=network,
        sampler=official("dbim", steps=100, eta=1.0) if posterior else official("sde", steps=100),
        tasks=(task,),
        source=source,
        licence=licence,
        weights_licence="none given",
        taken=file.taken,
        notes=(
            f"The weights do not tell the noise level: max_sigma {sigma:g} is that of the task {task}.",
            *(
                ("For the highest PSNR sample with mean-ode, as GOUB's paper does.",)
                if request.family in ("goub", "unidb")
                else ()
            ),
            *(
                ("GOUB and UniDB have the same network: if the file is theirs, say so by the family.",)
                if request.family == "ir-sde"
                else ()
            ),
        ),
    )


def convert_denoising(weights: Sequence[Weights], request: Request) -> Converted:
    """Convert the variant for noise from its only file."""
    file = single(weights)
    network_config, state = read_network(file.state)
    sigma = float(request.options.get("max_sigma", DENOISING_SIGMA))
    steps = int(request.options.get("steps", DENOISING_STEPS))
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"max_sigma must be positive, got {sigma}")
    config: dict[str, Any] = {
        "bridge": {"name": "ve", "sigma_max": 2 * sigma / 255},
        "network": network_config,
        "steps": steps,
    }
    renamed = state
    network = dialect("ir-sde-denoising", DenoisingDialect, config, renamed, request.dtype)
    return Converted(
        family="ir-sde-denoising",
        network=network,
        sampler=official("denoise", steps=20, sigma=float(request.options.get("sigma", 25))),
        tasks=("noise",),
        source=SOURCES["ir-sde"][0],
        licence=SOURCES["ir-sde"][1],
        weights_licence="none given",
        taken=file.taken,
        notes=(
            "Sampling begins with the noisy image itself: say how noisy it is by the sampler, as denoise:sigma=25.",
        ),
    )


SOURCES = {
    "refusion": ("https://github.com/Algolzw/image-restoration-sde (arXiv 2304.08291)", "MIT", "Refusion"),
    "ir-sde": ("https://github.com/Algolzw/image-restoration-sde (arXiv 2301.11699)", "MIT", "IR-SDE"),
    "goub": ("https://github.com/Hammour-steak/GOUB (arXiv 2312.10299)", "MIT", "GOUB"),
    "unidb": ("https://github.com/UniDB-SOC/UniDB (arXiv 2502.05749)", "none given; UniDB++ MIT", "UniDB"),
}
"""Where each is from, licence of the code, name in sentences."""

IRSDE_FAMILIES = [
    *(
        Family(
            name=name,
            title=title,
            detect=partial(detect, name),
            convert=_convert,
            build=IRSDEDialect,
            options=("max_sigma", "gamma_inv") if name == "unidb" else ("max_sigma",),
            tasks=tuple(SIGMAS[name]),
        )
        for name, (_, _, title) in SOURCES.items()
    ),
    Family(
        name="ir-sde-denoising",
        title="the denoising variant of IR-SDE",
        detect=partial(detect, "ir-sde-denoising"),
        convert=convert_denoising,
        build=DenoisingDialect,
        options=("max_sigma", "steps", "sigma"),
        tasks=("noise",),
    ),
]
