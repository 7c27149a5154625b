"""HI-Diff in its sizes.

The paper's for GoPro and RealBlur, as released or with a prior of our own, and a tiny one.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from inspect import Parameter, Signature
from typing import Any, get_type_hints

from rebridge.networks.hidiff import PAPER, TINY, HiDiff, HiDiffConfig, PriorNetwork
from rebridge.networks.hidiff_released import ReleasedHiDiff

REALBLUR = replace(
    PAPER,
    expansion=2.0,
    encoder_blocks=5,
    denoiser_blocks=5,
    steps=16,
    window=None,
    released=True,
    form="realblur",
)
OURS = ("unshuffle", "dense", "wide_top", "spectra", "prior", "features")
"""Settings that the released network does not have."""
SHARED = (
    "channels", "widths", "blocks", "heads", "refinement", "expansion", "side", "encoder_width", "encoder_blocks",
    "denoiser_width", "denoiser_blocks", "steps", "form", "random_start", "window",
)  # fmt: skip


def hi_diff_of(sizes: HiDiffConfig) -> PriorNetwork:
    """Build the network, as released or with a prior of our own.

    Raises:
        ValueError: sizes that are impossible or do not fit one another.
    """
    if not sizes.released:
        return HiDiff(sizes)
    sizes.check()
    changed = [name for name in OURS if getattr(sizes, name) != getattr(PAPER, name)]
    changed = [name for name in changed if (name, sizes.features) != ("features", 4 * sizes.encoder_width)]
    if changed:
        raise ValueError(f"{' and '.join(changed)} cannot be combined with released")
    return ReleasedHiDiff(teacher=True, **{name: getattr(sizes, name) for name in SHARED})


def _of_size(base: HiDiffConfig, summary: str) -> Callable[..., PriorNetwork]:
    """Make the function that builds a network of some size.

    Any of its settings can be changed by name.
    """

    def build(**sizes: Any) -> PriorNetwork:
        return hi_diff_of(replace(base, **sizes))

    hints = get_type_hints(HiDiffConfig)
    names = [field.name for field in fields(HiDiffConfig)]
    build.__doc__ = summary
    build.__annotations__ = {name: hints[name] for name in names}
    settings = [Parameter(n, Parameter.KEYWORD_ONLY, default=getattr(base, n), annotation=hints[n]) for n in names]
    build.__signature__ = Signature(settings)  # type: ignore[attr-defined]
    return build


hi_diff = _of_size(PAPER, "HI-Diff in the size of the paper for GoPro, by the options of its released code.")
hi_diff_realblur = _of_size(REALBLUR, "HI-Diff in the size of its released code for RealBlur.")
hi_diff_tiny = _of_size(TINY, "HI-Diff in a size for one CPU core.")
