"""Published networks that diffusers' classes carry: ADM and DDPM's U-Net.

Their weights need new names only.

ADM (guided-diffusion) is the network of the ImageNet and FFHQ priors, of I2SB, DDBM and BBDM. diffusers is imported when a
network is built. One trap: with scale and shift, the attention in the middle has a norm only if its groups are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rebridge.models.formats.published.errors import FormatError
from rebridge.models.formats.published.lookup import channels_in, channels_out
from rebridge.models.formats.published.reading import StateDict
from rebridge.models.formats.published.renaming import count, rename
from rebridge.networks.layers import pad_to_multiple

RESIDUAL = (
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
    (r"\.(attentions\.\d+)\.norm\.", r".\1.group_norm."),
    (r"\.(attentions\.\d+)\.proj_out\.", r".\1.to_out.0."),
    (r"samplers\.0\.op\.", "samplers.0.conv."),
)
OUTSIDE = (
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^label_emb\.", "class_embedding."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
)


class AdmUNet(nn.Module):
    """ADM's U-Net on diffusers' UNet2DModel.

    Args:
        inputs: Channels that go in.
        outputs: Channels that come out; 6 where the variance is predicted too.
        width: Features of the finest level.
        multipliers: Multiples of `width`, one per level.
        blocks: Residual blocks of a level.
        attention: For each level, whether its blocks are followed by attention.
        head_width: Channels of an attention head.
        resample_blocks: Sizes are changed by residual blocks instead of convolutions.
        scale_shift: The time scales and shifts features instead of being added.
        classes: Number of labels, None for none.
    """

    def __init__(
        self,
        inputs: int = 3,
        outputs: int = 6,
        width: int = 256,
        multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4),
        blocks: int = 2,
        attention: Sequence[bool] = (False, False, False, True, True, True),
        head_width: int = 64,
        resample_blocks: bool = True,
        scale_shift: bool = True,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        plain = (
            ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if resample_blocks else ("DownBlock2D", "UpBlock2D")
        )
        self.unet = _unet2d(
            in_channels=inputs,
            out_channels=outputs,
            block_out_channels=tuple(width * multiplier for multiplier in multipliers),
            down_block_types=tuple("AttnDownBlock2D" if attends else plain[0] for attends in attention),
            up_block_types=tuple("AttnUpBlock2D" if attends else plain[1] for attends in reversed(attention)),
            layers_per_block=blocks,
            downsample_type="resnet" if resample_blocks else "conv",
            upsample_type="resnet" if resample_blocks else "conv",
            attention_head_dim=head_width,
            attn_norm_num_groups=32,
            resnet_time_scale_shift="scale_shift" if scale_shift else "default",
            num_class_embeds=classes,
        )
        self.inputs, self.outputs, self.classes = inputs, outputs, classes
        self.multiple = 2 ** (len(multipliers) - 1)

    def forward(self, image: Tensor, index: Tensor, label: Tensor | None = None) -> Tensor:
        """Predict (B, outputs, H, W) from images (B, inputs, H, W).

        index: of the time, (B,). label: classes, (B,), for a network with classes.
        """
        height, width = image.shape[-2:]
        output: Tensor = self.unet(pad_to_multiple(image, self.multiple), index, class_labels=label).sample
        return output[..., :height, :width]


class DdpmUNet(nn.Module):
    """DDPM's U-Net, as in SDEdit, DDRM and DDNM, on diffusers' UNet2DModel.

    Args:
        channels: Channels of an image, in and out.
        width: Features of the finest level.
        multipliers: Multiples of `width`, one per level.
        blocks: Residual blocks of a level.
        attention: For each level, whether its blocks are followed by attention.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 128,
        multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4),
        blocks: int = 2,
        attention: Sequence[bool] = (False, False, False, False, True, False),
    ) -> None:
        super().__init__()
        self.unet = _unet2d(
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(width * multiplier for multiplier in multipliers),
            down_block_types=tuple("AttnDownBlock2D" if attends else "DownBlock2D" for attends in attention),
            up_block_types=tuple("AttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attention)),
            layers_per_block=blocks,
            downsample_padding=0,
            attention_head_dim=None,
            flip_sin_to_cos=False,
            freq_shift=1,
            norm_eps=1e-6,
        )
        self.multiple = 2 ** (len(multipliers) - 1)

    def forward(self, image: Tensor, index: Tensor) -> Tensor:
        """Noise (B, C, H, W) in images (B, C, H, W) at indices of the time (B,)."""
        height, width = image.shape[-2:]
        output: Tensor = self.unet(pad_to_multiple(image, self.multiple), index).sample
        return output[..., :height, :width]


def _unet2d(**config: Any) -> nn.Module:
    try:
        import diffusers
    except ImportError:
        raise FormatError("needs the package diffusers: pip install 'rebridge[priors]'") from None
    model: nn.Module = diffusers.UNet2DModel(**config)
    return model


def adm_sizes(state: StateDict, head_width: int) -> dict[str, Any]:
    """Parameters of `AdmUNet` from the weights; the width of heads is not in them."""
    width = channels_out(state, "input_blocks.0.0.weight")
    descending, ascending = count(state, r"input_blocks\.(\d+)\."), count(state, r"output_blocks\.(\d+)\.")
    levels = 1 + sum(_up(state, i) is not None for i in range(ascending))
    blocks = ascending // levels - 1
    if descending != levels * (blocks + 1):
        raise FormatError(
            f"has {descending} blocks on the way down and {ascending} on the way up, which do not go together"
        )
    firsts = [1 + level * (blocks + 1) for level in range(levels)]
    first = "input_blocks.1.0."
    wide = channels_out(state, first + "emb_layers.1.weight") == 2 * channels_out(state, first + "in_layers.2.weight")
    labels = state.get("label_emb.weight")
    return {
        "inputs": channels_in(state, "input_blocks.0.0.weight"),
        "outputs": channels_out(state, "out.2.weight"),
        "width": width,
        "multipliers": [channels_out(state, f"input_blocks.{i}.0.in_layers.2.weight") // width for i in firsts],
        "blocks": blocks,
        "attention": [f"input_blocks.{i}.1.qkv.weight" in state for i in firsts],
        "head_width": head_width,
        "resample_blocks": "input_blocks." + str(firsts[0] + blocks) + ".0.op.weight" not in state,
        "scale_shift": wide,
        "classes": None if labels is None else int(labels.shape[0]),
    }


def _up(state: StateDict, i: int) -> int | None:
    """Place of the part of output block i that doubles the size."""
    for place in (1, 2):
        name = f"output_blocks.{i}.{place}"
        if f"{name}.conv.weight" in state or f"{name}.in_layers.2.weight" in state:
            return place
    return None


def adm_renamed(state: StateDict, sizes: dict[str, Any], new_order: bool) -> StateDict:
    """ADM's weights by diffusers' names.

    Args:
        state: Weights by ADM's names.
        sizes: What `adm_sizes` returns.
        new_order: Rows of queries, keys and values are stored as (3, heads, width) instead of (heads, 3, width).
    """
    rules = [*OUTSIDE, *_places(state, int(sizes["blocks"]), len(sizes["multipliers"])), *RESIDUAL]
    renamed = rename(state, rules)
    result: StateDict = {}
    for name, value in renamed.items():
        if ".qkv." in name:
            result |= _split(name, value, int(sizes["head_width"]), new_order)
        else:
            result[name] = value.squeeze(-1) if ".to_out.0.weight" in name else value
    return {f"unet.{name}": value for name, value in result.items()}


def _places(state: StateDict, blocks: int, levels: int) -> list[tuple[str, str]]:
    """Rules for ADM's running numbers of blocks."""
    rules = []
    for level in range(levels):
        down, up = f"down_blocks.{level}.", f"up_blocks.{level}."
        for j in range(blocks + 1):
            i = 1 + level * (blocks + 1) + j
            rules.append((rf"^input_blocks\.{i}\.0\.", down + (f"resnets.{j}." if j < blocks else "downsamplers.0.")))
            rules.append((rf"^input_blocks\.{i}\.1\.", f"{down}attentions.{j}."))
        for j in range(blocks + 1):
            i = level * (blocks + 1) + j
            rules.append((rf"^output_blocks\.{i}\.0\.", f"{up}resnets.{j}."))
            place = _up(state, i)
            if place is not None:
                rules.append((rf"^output_blocks\.{i}\.{place}\.", f"{up}upsamplers.0."))
            if place != 1:
                rules.append((rf"^output_blocks\.{i}\.1\.", f"{up}attentions.{j}."))
    return rules


def _split(name: str, value: Tensor, head_width: int, new_order: bool) -> StateDict:
    """Queries, keys and values as three matrices."""
    value = value.squeeze(-1) if value.ndim == 3 else value
    rows, rest = value.shape[0] // 3, value.shape[1:]
    if rows % head_width:
        raise FormatError(f"has {rows} channels of attention, which are no multiple of heads of {head_width}")
    if new_order:
        parts = value.reshape(3, rows, *rest).unbind(0)
    else:
        parts = value.reshape(rows // head_width, 3, head_width, *rest).unbind(1)
    return {
        name.replace(".qkv.", f".{to}."): part.reshape(rows, *rest).contiguous()
        for to, part in zip(("to_q", "to_k", "to_v"), parts, strict=True)
    }


DDPM = (
    (r"^temb\.dense\.0\.", "time_embedding.linear_1."),
    (r"^temb\.dense\.1\.", "time_embedding.linear_2."),
    (r"^norm_out\.", "conv_norm_out."),
    (r"^mid\.block_1\.", "mid_block.resnets.0."),
    (r"^mid\.attn_1\.", "mid_block.attentions.0."),
    (r"^mid\.block_2\.", "mid_block.resnets.1."),
    (r"^(down|up)\.(\d+)\.block\.", r"\1_blocks.\2.resnets."),
    (r"^(down|up)\.(\d+)\.attn\.", r"\1_blocks.\2.attentions."),
    (r"^(down|up)\.(\d+)\.(down|up)sample\.", r"\1_blocks.\2.\3samplers.0."),
    (r"\.temb_proj\.", ".time_emb_proj."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.(attentions\.\d+)\.norm\.", r".\1.group_norm."),
    (r"\.(attentions\.\d+)\.([qkv])\.", r".\1.to_\2."),
    (r"\.(attentions\.\d+)\.proj_out\.", r".\1.to_out.0."),
)


def ddpm_sizes(state: StateDict) -> dict[str, Any]:
    """Parameters of `DdpmUNet` from the weights."""
    width, levels = channels_out(state, "conv_in.weight"), count(state, r"down\.(\d+)\.")
    return {
        "channels": channels_out(state, "conv_out.weight"),
        "width": width,
        "multipliers": [channels_out(state, f"down.{i}.block.0.conv1.weight") // width for i in range(levels)],
        "blocks": count(state, r"down\.0\.block\.(\d+)\."),
        "attention": [f"down.{i}.attn.0.q.weight" in state for i in range(levels)],
    }


def ddpm_renamed(state: StateDict) -> StateDict:
    """Give DDPM's weights diffusers' names.

    There, levels on the way up are counted from the coarsest.
    """
    levels = count(state, r"down\.(\d+)\.")
    renamed: StateDict = {}
    for name, value in rename(turned(state, "up", levels), DDPM).items():
        flat = ".attentions." in name and value.ndim == 4
        renamed[f"unet.{name}"] = value[:, :, 0, 0] if flat else value
    return renamed


def turned(state: StateDict, part: str, levels: int) -> StateDict:
    """The weights with the levels of a part counted the other way round."""
    result: StateDict = {}
    for name, value in state.items():
        pieces = name.split(".")
        for place in range(len(pieces) - 1):
            if pieces[place] == part and pieces[place + 1].isdigit():
                pieces[place + 1] = str(levels - 1 - int(pieces[place + 1]))
                break
        result[".".join(pieces)] = value
    return result


def with_variance(output: Tensor, channels: int) -> Tensor:
    """The noise of an output that may hold the variance behind it."""
    return output[:, :channels] if output.shape[1] != channels else output
