"""Resemblances of damaged weights to families, for errors that name one.

Families are recognised by a few weights each. Where one of these is missing, the rest still tells whose file it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Resemblance:
    """Signs of a family.

    Args:
        family: Name in the catalogue of families.
        signs: Parts of names, all of which occur.
        anchors: Ends of names by which files of the family are recognised.
    """

    family: str
    signs: tuple[str, ...]
    anchors: tuple[str, ...]

    def shown_by(self, names: Sequence[str]) -> bool:
        """Test if every sign occurs."""
        return all(any(sign in name for name in names) for sign in self.signs)

    def missing(self, names: Sequence[str]) -> list[str]:
        """The anchors that do not occur."""
        return [
            anchor
            for anchor in self.anchors
            if not any(name == anchor or name.endswith("." + anchor) for name in names)
        ]


_ADM = ("input_blocks.0.0.weight", "input_blocks.1.0.in_layers.0.weight", "out.2.weight")
RESEMBLANCES = (
    Resemblance("resshift", ("input_blocks.", ".patch_embed."), ("input_blocks.1.1.patch_embed.proj.weight",)),
    Resemblance("i2sb", ("diffusion_model.input_blocks.",), _ADM),
    Resemblance("bbdm", ("denoise_fn.input_blocks.",), _ADM),
    Resemblance("adm", ("input_blocks.", ".in_layers.", "output_blocks."), _ADM),
    Resemblance("rddm", ("unet1.",), ("unet1.init_conv.weight", "unet0.init_conv.weight")),
    Resemblance("rddm", ("ups_no_skip.",), ("ups_no_skip.0.0.block1.proj.weight",)),
    Resemblance("diffuir", ("unet0.",), ("unet0.init_conv.weight", "unet0.downs.0.0.block1.norm.weight")),
    Resemblance("refusion", ("middle_blks.", "encoders.", ".mlp."), ("intro.weight", "time_mlp.1.weight")),
    Resemblance(
        "ir-sde", ("downs.", "mid_attn.", "final_conv."), ("init_conv.weight", "mid_block1.block1.proj.weight")
    ),
    Resemblance("ddpm", ("temb.dense.", "down."), ("temb.dense.0.weight", "down.0.block.0.conv1.weight")),
    Resemblance("ddpm", ("mid.attn_1.", "up.0.block.0.temb_proj"), ("temb.dense.0.weight",)),
    Resemblance("vq", ("encoder.down.", "decoder.up."), ("quantize.embedding.weight", "encoder.conv_in.weight")),
    Resemblance("hi-diff", ("encoder_level1.", "decoder_level1."), ("output.weight", "patch_embed.proj.weight")),
)
"""The surest first."""
WORDS_OF_SETTINGS = {
    "gamma_inv": "unidb",
    "lambda_square": "goub",
    "ConditionalNAFNet": "refusion",
    "ConditionalUNet": "ir-sde",
    "UNetModelSwin": "resshift",
    "BrownianBridge": "bbdm",
    "LBBDM": "bbdm",
    "net_le_dm": "hi-diff",
    "network_le_dm": "hi-diff",
    "use_new_attention_order": "adm",
    "CelebA_HQ": "ddpm",
    "VQModel": "vq",
}
"""Words in the authors' files of settings, which some take for the weights, and whose they are; the surest first."""


def resembling(states: Sequence[Iterable[str]]) -> tuple[str, list[str]] | None:
    """Find the family that names resemble, and the anchors that they lack.

    The names are those of weights, or words of settings. None where they resemble none.
    """
    names = [name for state in states for name in state]
    for known in RESEMBLANCES:
        if known.shown_by(names):
            return known.family, known.missing(names)
    for word, family in WORDS_OF_SETTINGS.items():
        if any(word in name for name in names):
            return family, []
    return None
