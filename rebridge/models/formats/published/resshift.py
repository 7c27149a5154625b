"""ResShift in the latent space of vq-f4, or vq-f8 for faces, by its Swin U-Net.

The network sees the state divided by sqrt(eta_t kappa^2 + 1), the index of the time, and the picture in low quality itself, not
its latent; it predicts the clean latent. Yue et al., arXiv 2307.12348; zsyOAOA/ResShift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import interpolate

from rebridge.models.formats.published import vq
from rebridge.models.formats.published.base import Converted, Dialect, Family, Request, choose, dialect, official
from rebridge.models.formats.published.errors import FormatError
from rebridge.models.formats.published.lookup import channels_in, channels_out, need, prefix_of
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.formats.published.renaming import count, rename, under
from rebridge.networks import Network
from rebridge.networks.swin_unet import SwinUNet

_TASKS: dict[str, dict[str, Any]] = {
    "sr4": {"steps": 15, "min_noise": 0.04},
    "sr4-v3": {"steps": 4, "min_noise": 0.2},
    "bicubic-sr4": {"steps": 15, "min_noise": 0.04},
    "inpaint": {"steps": 4, "min_noise": 0.2},
    "face": {"steps": 4, "min_noise": 0.2},
}
"""Steps and first noise of each published run; kappa is 2 and the power 0.3 in all."""
_ANCHOR = "input_blocks.1.1.patch_embed.proj.weight"
BUFFERS = ("attn_mask", "relative_position_index")
_RULES = (
    (r"^time_embed\.0\.", "time.0."),
    (r"^time_embed\.2\.", "time.1."),
    (r"^input_blocks\.0\.0\.", "head."),
    (r"^middle_block\.0\.", "middle_first."),
    (r"^middle_block\.1\.", "middle_attend."),
    (r"^middle_block\.2\.", "middle_second."),
    (r"^out\.0\.", "norm."),
    (r"^out\.2\.", "tail."),
    (r"^feature_extractor\.(\d+)\.op\.", r"feature_extractor.\1."),
    (r"\.in_layers\.0\.", ".first_norm."),
    (r"\.in_layers\.2\.", ".first."),
    (r"\.emb_layers\.1\.", ".modulate.affine."),
    (r"\.out_layers\.0\.", ".second_norm."),
    (r"\.out_layers\.3\.", ".second."),
    (r"\.skip_connection\.", ".match."),
    (r"\.patch_embed\.proj\.", ".enter."),
    (r"\.patch_unembed\.proj\.", ".leave."),
    (r"\.attn\.relative_position_bias_table$", ".attend.bias"),
    (r"\.attn\.qkv\.", ".attend.project."),
    (r"\.attn\.proj\.", ".attend.leave."),
    (r"\.norm1\.", ".norm."),
    (r"\.norm2\.", ".second_norm."),
    (r"\.mlp\.fc1\.", ".enter."),
    (r"\.mlp\.fc2\.", ".leave."),
)


class ResShiftDialect(Dialect):
    """Clean latent from the scaled state and the picture in low quality.

    Args:
        bridge: Process, resshift with the run's steps and noise.
        **network: Parameters of `SwinUNet`.
    """

    family: ClassVar[str] = "resshift"
    latent: ClassVar[bool] = True

    def __init__(self, bridge: Mapping[str, Any], **network: Any) -> None:
        built = SwinUNet(**network)
        super().__init__(bridge, built, built.channels, built.multiple)
        self.factor = built.factor

    def forward(self, x: Tensor, t: Tensor, y: Tensor, picture: Tensor | None = None) -> Tensor:
        """Clean estimate of latents (B, C, h, w); t (B,).

        Args:
            x: State.
            t: Time.
            y: Latent of the picture, enlarged where the task enlarges.
            picture: In low quality, (B, 3, H, W) in [-1, 1]; brought to `factor` times the size of the latents.

        Raises:
            ValueError: If no picture is given.
        """
        if picture is None:
            raise ValueError("ResShift's network sees the picture itself: bind it by `seeing(picture)`")
        scale = (self.coefficients(t, x.double()).gamma.square() + 1).rsqrt().to(x)
        size = (self.factor * x.shape[-2], self.factor * x.shape[-1])
        if picture.shape[-2:] != size:
            picture = interpolate(picture, size, mode="bicubic", antialias=True).clamp(-1, 1)
        result: Tensor = self.run(scale * x, self.index(t).to(x.device), picture)
        return result

    def seeing(self, y: Tensor) -> Network:
        """The network for one batch of pictures (B, 3, H, W) in [-1, 1]."""
        return _Seeing(self, y)


class _Seeing(Network):
    """ResShift's network and the pictures that it restores."""

    def __init__(self, dialect: ResShiftDialect, picture: Tensor) -> None:
        super().__init__()
        self.dialect, self.picture = dialect, picture

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        result: Tensor = self.dialect(x, t, y, self.picture)
        return result


def _is_swin(state: StateDict) -> bool:
    return prefix_of(state, _ANCHOR) is not None


def detect(states: Sequence[StateDict]) -> bool:
    """Recognise ResShift's Swin U-Net in one of at most two files."""
    return len(states) <= 2 and any(_is_swin(state) for state in states)


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """ResShift from its file, with the autoencoder in a second one."""
    file = next(file for file in weights if _is_swin(file.state))
    others = [other for other in weights if other is not file]
    if any(not vq.is_vq(other.state) for other in others):
        raise FormatError("the second file is no VQ autoencoder")
    task = choose(request, _TASKS, "sr4")
    settings = _TASKS[task] | {key: value for key, value in request.options.items() if key in ("steps", "min_noise")}
    bridge = {"name": "resshift", "kappa": 2.0, "power": 0.3} | settings
    state = under(file.state, (prefix_of(file.state, _ANCHOR) or ""))
    stages = _stages(state)
    config = {"bridge": bridge, **_sizes(state, stages)}
    renamed = _renamed(state, stages)
    network = dialect("resshift", ResShiftDialect, config, renamed, request.dtype)
    space = vq.autoencoder(others[0].state, request) if others else None
    lacking = ("The autoencoder is a file of its own (autoencoder_vq_f4.pth): give it too.",)
    return Converted(
        family="resshift",
        network=network,
        sampler=official("residual-posterior", steps=int(settings["steps"])),
        tasks=(task.removeprefix("bicubic-").removesuffix("-v3"),),
        source="https://github.com/zsyOAOA/ResShift (arXiv 2307.12348)",
        licence="S-Lab licence 1.0, non-commercial",
        weights_licence="S-Lab licence 1.0, non-commercial",
        taken=file.taken,
        autoencoder=space,
        notes=(f"Steps ({settings['steps']}) and noise go by the task.", *(() if others else lacking)),
    )


def _stages(state: StateDict) -> tuple[list[list[int]], list[list[int]]]:
    """Running numbers of the residual blocks of each level, on the way down and up."""
    down: list[list[int]] = [[]]
    for i in range(1, count(state, r"input_blocks\.(\d+)\.")):
        if f"input_blocks.{i}.0.op.weight" in state:
            down.append([])
        else:
            down[-1].append(i)
    up: list[list[int]] = [[]]
    total = count(state, r"output_blocks\.(\d+)\.")
    for i in range(total):
        up[-1].append(i)
        if _up(state, i) is not None and i < total - 1:
            up.append([])
    return down, up


def _up(state: StateDict, i: int) -> int | None:
    return next((place for place in (1, 2) if f"output_blocks.{i}.{place}.conv.weight" in state), None)


def _sizes(state: StateDict, stages: tuple[list[list[int]], list[list[int]]]) -> dict[str, Any]:
    down, _ = stages
    width = channels_out(state, "input_blocks.0.0.weight")
    swin = "input_blocks.1.1."
    embed = channels_out(state, swin + "patch_embed.proj.weight")
    table = need(state, swin + "blocks.0.attn.relative_position_bias_table")
    levels = len(down)
    masked = any(name.endswith("attn_mask") for name in state)
    window = (round(table.shape[0] ** 0.5) + 1) // 2
    known = [f"input_blocks.{blocks[0]}.1.blocks.1.attn_mask" in state for blocks in down]
    numbers = range(count(state, r"feature_extractor\.(\d+)\."))
    convolutions = (f"feature_extractor.{i}{op}.weight" for i in numbers for op in ("", ".op"))
    extractor = [channels_out(state, name) for name in convolutions if name in state]
    channels = channels_out(state, "out.2.weight")
    condition = (
        channels_in(state, "feature_extractor.0.weight")
        if extractor
        else channels_in(state, "input_blocks.0.0.weight") - channels
    )
    return {
        "channels": channels,
        "condition": condition,
        "width": width,
        "multipliers": [channels_out(state, f"input_blocks.{b[0]}.0.in_layers.2.weight") // width for b in down],
        "blocks": [len(blocks) for blocks in down],
        "attention": [f"input_blocks.{blocks[0]}.1.patch_embed.proj.weight" in state for blocks in down],
        "shifted": known if masked else [level < levels - 1 for level in range(levels)],
        "embed": embed,
        "heads": int(table.shape[1]),
        "window": window,
        "depth": count(state, r"input_blocks\.1\.1\.blocks\.(\d+)\."),
        "expansion": channels_out(state, swin + "blocks.0.mlp.fc1.weight") // embed,
        "extractor": extractor,
    }


def _renamed(state: StateDict, stages: tuple[list[list[int]], list[list[int]]]) -> StateDict:
    rules: list[tuple[str, str]] = []
    for level, blocks in enumerate(stages[0]):
        for j, i in enumerate(blocks):
            rules.append((rf"^input_blocks\.{i}\.0\.", f"descent.{level}.{j}."))
            rules.append((rf"^input_blocks\.{i}\.1\.", f"descent_attend.{level}."))
        rules.append((rf"^input_blocks\.{blocks[-1] + 1}\.0\.op\.", f"down.{level}."))
    for level, blocks in enumerate(stages[1]):
        for j, i in enumerate(blocks):
            rules.append((rf"^output_blocks\.{i}\.0\.", f"ascent.{level}.{j}."))
            place = _up(state, i)
            if place is not None:
                rules.append((rf"^output_blocks\.{i}\.{place}\.conv\.", f"up.{level}."))
            if place != 1:
                rules.append((rf"^output_blocks\.{i}\.1\.", f"ascent_attend.{level}."))
    kept = {name: value for name, value in state.items() if not name.endswith(BUFFERS)}
    extractors = [
        i for i in range(20) if f"feature_extractor.{i}.weight" in kept or f"feature_extractor.{i}.op.weight" in kept
    ]
    extract = [(rf"^feature_extractor\.{i}\.", f"extract.{place}.") for place, i in enumerate(extractors)]
    return rename(kept, [*rules, *_RULES, *extract])


RESSHIFT_FAMILY = Family(
    name="resshift",
    title="ResShift",
    detect=detect,
    convert=_convert,
    build=ResShiftDialect,
    options=("steps", "min_noise"),
    tasks=tuple(_TASKS),
)
