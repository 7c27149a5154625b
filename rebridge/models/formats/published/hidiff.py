"""HI-Diff for motion blur (GoPro, RealBlur-J and -R), in one step.

Three files, in [0, 1]: net_g is the transformer, net_le_dm the encoder of the degraded image, net_d the denoiser of the prior.
Which of the two forms they have is read off the weights. Chen et al., arXiv 2305.12966; zhengchen1999/HI-Diff.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.models.formats.published.base import Converted, Dialect, Family, Request, dialect, official
from rebridge.models.formats.published.errors import FormatError
from rebridge.models.formats.published.lookup import channels_out, need, prefix_of
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.formats.published.renaming import count, rename, under
from rebridge.networks.hidiff_released import ReleasedHiDiff

ANCHORS = {
    "net_g": ("patch_embed.proj.weight", "encoder_level1.him.q.weight"),
    "net_le_dm": ("conv1.0.weight", "mlp.patch_mixer.0.weight"),
    "net_d": ("first_layer.0.weight", "time_mlp"),
    "net_d of RealBlur": ("resmlp.0.weight", "resmlp.2.resmlp.0.weight"),
}
"""Two weights by which each file is known."""
_LEVELS = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
BLOCKS = (
    (r"^patch_embed\.proj\.", "head."),
    (r"^output\.", "tail."),
    (r"^latent\.", "before.3."),
    (r"^refinement\.", "refine."),
    (r"\.body\.0\.", "."),
    (r"\.him\.norm1\.body\.", ".integrate.norm."),
    (r"\.him\.norm2\.body\.", ".integrate.norm_prior."),
    (r"\.him\.q\.", ".integrate.query."),
    (r"\.him\.kv\.", ".integrate.key_value."),
    (r"\.him\.proj\.", ".integrate.leave."),
    (r"\.norm1\.body\.", ".norms.0."),
    (r"\.norm2\.body\.", ".norms.1."),
    (r"\.attn\.temperature", ".parts.0.temperature"),
    (r"\.attn\.qkv\.", ".parts.0.enter."),
    (r"\.attn\.qkv_dwconv\.", ".parts.0.look."),
    (r"\.attn\.project_out\.", ".parts.0.leave."),
    (r"\.ffn\.project_in\.", ".parts.1.enter."),
    (r"\.ffn\.dwconv\.", ".parts.1.look."),
    (r"\.ffn\.project_out\.", ".parts.1.leave."),
    *((rf"^encoder_level{i}\.", f"before.{i - 1}.") for i in (1, 2, 3)),
    *((rf"^decoder_level{i}\.", f"after.{i - 1}.") for i in (1, 2, 3)),
    *((rf"^down{i}_{i + 1}\.", f"down.{i - 1}.") for i in (1, 2, 3)),
    *((rf"^up{i + 1}_{i}\.", f"up.{i - 1}.") for i in (1, 2, 3)),
    *((rf"^reduce_chan_level{i}\.", f"merge.{i - 1}.") for i in (1, 2, 3)),
    *((rf"^down_{i}\.1\.", f"fewer.{i - 1}.tokens.") for i in (1, 2)),
    *((rf"^down_{i}\.3\.", f"fewer.{i - 1}.features.") for i in (1, 2)),
)
MIXER = (
    (r"patch_mixer\.", "tokens."),
    (r"channel_mixer\.", "features."),
    (r"norm1\.", "norm_tokens."),
    (r"norm2\.", "norm_features."),
)
ENCODER = (
    (r"^conv1\.0\.", "enter."),
    (r"^conv2\.(weight|bias)$", r"gather.\1"),
    *((rf"^conv2\.{2 * i}\.", f"widen.{i}.") for i in (0, 1, 2)),
    (r"^mlp\.", "mixer."),
    (r"^end\.0\.", "leave."),
    *MIXER,
)
DENOISER = (
    (r"^time_mlp$", "time"),
    (r"^first_layer\.0\.", "enter."),
    (r"^final_layer\.0\.", "leave."),
    (r"^blocks\.(\d+)\.0\.", r"blocks.\1."),
    *MIXER,
)
STEPS = {"gopro": 8, "realblur": 16}
EXPANSIONS = (2.66, 2.0)


class HiDiffDialect(Dialect):
    """y plus the residual that HI-Diff predicts from y; the state has no part in it.

    Args:
        bridge: Process, by default the straight line from y, walked in one step.
        **network: Parameters of `ReleasedHiDiff`.
    """

    family: ClassVar[str] = "hi-diff"

    def __init__(self, bridge: Mapping[str, Any] | None = None, **network: Any) -> None:
        built = ReleasedHiDiff(**network)
        super().__init__(bridge or {"name": "flow"}, built, built.channels, built.multiple)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Estimate x0 in [-1, 1] units; images (B, 3, H, W), t (B,)."""
        image = (y + 1) / 2
        result: Tensor = y + 2 * self.run(image, t, image)
        return result


def part_of(state: StateDict) -> str | None:
    """Recognise one of the three files by two of its weights."""
    for part, anchors in ANCHORS.items():
        if all(anchor in state for anchor in anchors):
            return part.split(" ")[0]
    return None


def split(states: Sequence[StateDict]) -> dict[str, StateDict]:
    """Sort files into HI-Diff's parts, one each or all in one under their names."""
    parts: dict[str, StateDict] = {}
    for state in states:
        part = part_of(state)
        if part is not None:
            parts[part] = state
            continue
        for name in ("net_g", "net_le_dm", "net_d"):
            inner = under(state, f"{name}.")
            if inner:
                parts[name] = inner
    return parts


def detect(states: Sequence[StateDict]) -> bool:
    """Recognise any part of HI-Diff among at most three files."""
    if len(states) > 3 or any(prefix_of(state, "input_blocks.0.0.weight") is not None for state in states):
        return False
    return any(part_of(part) is not None for part in split(states).values())


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """HI-Diff from its three files, in any order."""
    parts = split([file.state for file in weights])
    missing = [name for name in ("net_g", "net_le_dm", "net_d") if name not in parts]
    if missing:
        raise FormatError(f"lacks {' and '.join(missing)}: give net_g.pth, net_le_dm.pth and net_d.pth together")
    form = "gopro" if "time_mlp" in parts["net_d"] else "realblur"
    config = {"bridge": {"name": "flow"}, **_sizes(parts, form)}
    if "random_start" in request.options:
        config["random_start"] = bool(request.options["random_start"])
    renamed = _renamed(parts, form)
    network = dialect("hi-diff", HiDiffDialect, config, renamed, request.dtype)
    return Converted(
        family="hi-diff",
        network=network,
        sampler=official("dbim", steps=1),
        tasks=("blur",),
        source="https://github.com/zhengchen1999/HI-Diff (arXiv 2305.12966)",
        licence="Apache-2.0",
        weights_licence="none given",
        taken=weights[0].taken,
        notes=(
            "The authors draw the start of the prior anew for each image; here it is the same unless random_start is set.",
        ),
    )


def _sizes(parts: Mapping[str, StateDict], form: str) -> dict[str, Any]:
    g, le, d = parts["net_g"], parts["net_le_dm"], parts["net_d"]
    widths = [channels_out(g, f"{level}.blocks.0.norm1.body.weight") for level in _LEVELS]
    hidden = [channels_out(g, f"{level}.blocks.0.ffn.project_in.weight") // 2 for level in _LEVELS]
    known = [e for e in EXPANSIONS if [int(width * e) for width in widths] == hidden]
    encoder_width = channels_out(le, "conv1.0.weight")
    plain = form == "realblur"
    return {
        "channels": channels_out(g, "output.weight"),
        "widths": widths,
        "blocks": [count(g, rf"{level}\.blocks\.(\d+)\.") for level in _LEVELS],
        "heads": [channels_out(g, f"{level}.blocks.0.attn.temperature") for level in _LEVELS],
        "refinement": count(g, r"refinement\.blocks\.(\d+)\."),
        "expansion": known[0] if known else (hidden[-1] + 0.5) / widths[-1],
        "form": form,
        "side": round(channels_out(le, "mlp.patch_mixer.2.weight") ** 0.5),
        "encoder_width": encoder_width,
        "encoder_blocks": count(le, r"blocks\.(\d+)\."),
        "denoiser_width": 1 if plain else channels_out(d, "first_layer.0.weight"),
        "denoiser_blocks": count(d, r"resmlp\.(\d+)\.") - 1 if plain else count(d, r"blocks\.(\d+)\."),
        "steps": STEPS[form],
    }


def _renamed(parts: Mapping[str, StateDict], form: str) -> StateDict:
    transformer = rename(_affine(parts["net_g"]), BLOCKS)
    state = {f"transformer.{name}": value for name, value in transformer.items()}
    state |= {f"encoder.{name}": value for name, value in rename(parts["net_le_dm"], ENCODER).items()}
    if form == "gopro":
        denoiser = rename(parts["net_d"], DENOISER)
    else:
        rules = [
            (r"^resmlp\.0\.", "layers.0."),
            *((rf"^resmlp\.{i + 1}\.resmlp\.0\.", f"layers.{i}.") for i in range(1, 20)),
        ]
        denoiser = rename(parts["net_d"], rules)
    return state | {f"diffusion.denoiser.{name}": value for name, value in denoiser.items()}


def _affine(state: StateDict) -> StateDict:
    """Turn h * ln1(z) + ln2(z) into h * (1 + scale) + shift by one layer.

    The bias of the scale is less by one.
    """
    result: StateDict = {}
    for name, value in state.items():
        if ".ln2." in name:
            continue
        if ".ln1." not in name:
            result[name] = value
            continue
        block, rest = name.split(".attn.")[0] if ".attn." in name else name.split(".ffn.")[0], name.rsplit(".", 1)[1]
        part = 0 if ".attn." in name else 1
        first = value - 1 if rest == "bias" else value
        result[f"{block}.affine.{part}.{rest}"] = torch.cat([first, need(state, name.replace(".ln1.", ".ln2."))])
    return result


HIDIFF_FAMILY = Family(
    name="hi-diff",
    title="HI-Diff",
    detect=detect,
    convert=_convert,
    build=HiDiffDialect,
    options=("random_start",),
    tasks=("blur",),
)
