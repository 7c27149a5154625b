"""Autoencoders of latent diffusion (vq-f4, vq-f8) on diffusers' VQModel.

BBDM and ResShift sample in their space.

States are encodings before quantisation; decoding quantises first. Esser et al., arXiv 2012.09841; CompVis/latent-diffusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from rebridge.models.autoencoders import PUBLISHED_VQ, Autoencoder
from rebridge.models.formats.published.base import (
    Converted,
    Dialect,
    Family,
    Request,
    dialect,
    filled,
    official,
    single,
)
from rebridge.models.formats.published.carried import turned
from rebridge.models.formats.published.errors import FormatError
from rebridge.models.formats.published.lookup import channels_in, channels_out, prefix_of
from rebridge.models.formats.published.reading import StateDict, Weights
from rebridge.models.formats.published.renaming import count, rename, under
from rebridge.networks.layers import pad_to_multiple

_ANCHOR = "quantize.embedding.weight"
_RULES = (
    (r"^(en|de)coder\.norm_out\.", r"\1coder.conv_norm_out."),
    (r"^(en|de)coder\.mid\.block_1\.", r"\1coder.mid_block.resnets.0."),
    (r"^(en|de)coder\.mid\.attn_1\.", r"\1coder.mid_block.attentions.0."),
    (r"^(en|de)coder\.mid\.block_2\.", r"\1coder.mid_block.resnets.1."),
    (r"\.(down|up)\.(\d+)\.block\.", r".\1_blocks.\2.resnets."),
    (r"\.(down|up)\.(\d+)\.attn\.", r".\1_blocks.\2.attentions."),
    (r"\.(down|up)\.(\d+)\.(down|up)sample\.", r".\1_blocks.\2.\3samplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.(attentions\.\d+)\.norm\.", r".\1.group_norm."),
    (r"\.(attentions\.\d+)\.([qkv])\.", r".\1.to_\2."),
    (r"\.(attentions\.\d+)\.proj_out\.", r".\1.to_out.0."),
)


class VQAutoencoder(Autoencoder):
    """Images in [-1, 1] to latents and back.

    Args:
        channels: Channels of an image.
        width: Features of the finest level.
        multipliers: Multiples of `width`, one per level.
        blocks: Residual blocks of a level.
        latent: Channels of a latent.
        codes: Number of vectors in the code book.
        code: Length of one of them.
        middle_attention: Whether the middle attends to all places.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 128,
        multipliers: Sequence[int] = (1, 2, 4),
        blocks: int = 2,
        latent: int = 3,
        codes: int = 8192,
        code: int = 3,
        middle_attention: bool = True,
    ) -> None:
        super().__init__()
        try:
            import diffusers
        except ImportError:
            raise FormatError("needs the package diffusers: pip install 'rebridge[priors]'") from None
        levels = len(multipliers)
        self.model: Any = diffusers.VQModel(
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=tuple(width * multiplier for multiplier in multipliers),
            layers_per_block=blocks,
            latent_channels=latent,
            num_vq_embeddings=codes,
            vq_embed_dim=code,
            mid_block_add_attention=middle_attention,
        )
        self.channels = channels
        self.latent_channels = code
        self.factor = 2 ** (levels - 1)

    def encode(self, image: Tensor) -> Tensor:
        """Encode images (B, C, H, W) in [-1, 1] to latents (B, code, H/f, W/f).

        Latents are those before quantisation; sides are padded to a multiple of f.
        """
        result: Tensor = self.model.encode(pad_to_multiple(image, self.factor)).latents
        return result

    def decode(self, latent: Tensor, size: tuple[int, int] | None = None, quantise: bool = True) -> Tensor:
        """Images (B, C, H, W), about in [-1, 1], of latents; cropped to a size."""
        image: Tensor = self.model.decode(latent, force_not_quantize=not quantise).sample
        return image if size is None else image[..., : size[0], : size[1]]


def _sizes(state: StateDict) -> dict[str, Any]:
    """Parameters of `VQAutoencoder` from the weights."""
    width, levels = channels_out(state, "encoder.conv_in.weight"), count(state, r"encoder\.down\.(\d+)\.")
    return {
        "channels": channels_in(state, "encoder.conv_in.weight"),
        "width": width,
        "multipliers": [channels_out(state, f"encoder.down.{i}.block.0.conv1.weight") // width for i in range(levels)],
        "blocks": count(state, r"encoder\.down\.0\.block\.(\d+)\."),
        "latent": channels_out(state, "encoder.conv_out.weight"),
        "codes": channels_out(state, _ANCHOR),
        "code": channels_in(state, _ANCHOR),
        "middle_attention": "encoder.mid.attn_1.q.weight" in state,
    }


def is_vq(state: StateDict) -> bool:
    """Recognise a VQ autoencoder."""
    prefix = prefix_of(state, _ANCHOR)
    return prefix is not None and prefix + "encoder.conv_in.weight" in state


def autoencoder(state: StateDict, request: Request) -> VQAutoencoder:
    """Build the autoencoder that some weights hold."""
    config, renamed = _read(state)
    built: VQAutoencoder = filled(lambda: VQAutoencoder(**config), renamed, request.dtype)
    built.config = {"name": PUBLISHED_VQ, **config}
    return built


def _read(state: StateDict) -> tuple[dict[str, Any], StateDict]:
    """Sizes and weights by our names, without what belongs to training."""
    state = under(state, prefix_of(state, _ANCHOR) or "")
    kept = {name: value for name, value in state.items() if not name.startswith(("loss.", "model_ema.", "colorize"))}
    config = _sizes(kept)
    renamed: StateDict = {}
    for name, value in rename(turned(kept, "up", len(config["multipliers"])), _RULES).items():
        flat = ".attentions." in name and value.ndim == 4
        renamed[f"model.{name}"] = value[:, :, 0, 0] if flat else value
    return config, renamed


class VQDialect(Dialect):
    """An autoencoder alone, which restores nothing: the estimate is y.

    Args:
        **network: Parameters of `VQAutoencoder`.
    """

    family: ClassVar[str] = "vq"

    def __init__(self, **network: Any) -> None:
        built = VQAutoencoder(**network)
        super().__init__({"name": "flow"}, built, built.channels, built.factor)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Encode and decode y, (B, C, H, W) in [-1, 1], to see what the space loses."""
        result: Tensor = self.network.decode(self.network.encode(y), (y.shape[-2], y.shape[-1]))  # type: ignore[operator]
        return result


def detect(states: Sequence[StateDict]) -> bool:
    """Recognise one file with a VQ autoencoder and nothing else."""
    return len(states) == 1 and is_vq(states[0]) and not any(name.startswith("denoise_fn.") for name in states[0])


def _convert(weights: Sequence[Weights], request: Request) -> Converted:
    """The autoencoder from its only file."""
    file = single(weights)
    config, renamed = _read(file.state)
    return Converted(
        family="vq",
        network=dialect("vq", VQDialect, config, renamed, request.dtype),
        sampler=official("dbim", steps=1),
        tasks=(),
        source="https://github.com/CompVis/latent-diffusion (arXiv 2012.09841)",
        licence="MIT",
        weights_licence="none given",
        taken=file.taken,
        notes=(
            "This is an autoencoder, a part of latent models such as BBDM and ResShift; alone it restores nothing.",
        ),
    )


VQ_FAMILY = Family(name="vq", title="a VQ autoencoder", detect=detect, convert=_convert, build=VQDialect)
