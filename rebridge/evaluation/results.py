"""Scores of results that any tool has left in a folder."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from rebridge.data.folders import as_float, image_files, read_stored
from rebridge.evaluation.cases import Case
from rebridge.evaluation.evaluate import Evaluation, Score, Scored
from rebridge.evaluation.metrics import Channel, psnr, ssim

BY_OTHERS = "restored"
"""Method, and task where none is named, of results that were there already."""


def score_results(
    folder: str | Path, cases: Sequence[Case], *, channel: Channel = "rgb", progress: Scored | None = None
) -> Evaluation:
    """Compare the images of a folder with the clean ones of the same names.

    A result is called as the clean image, also with something behind it: `boat_out.png` or `boat.x2.jpg` for `boat.png`. Clean
    images without a result are left out.

    Args:
        folder: of the results.
        cases: clean images, and degraded ones where they are known, by name.
        channel: "rgb", or "y" for luma.
        progress: called after each image.

    Raises:
        ValueError: no result, one of no or of several clean images, two of one, or one of another size.
    """
    found = matched(folder, [case.name for case in cases])
    scores: list[Score] = []
    for case in cases:
        if case.name not in found:
            continue
        clean, degraded = (image[None] for image in case.load())
        path = found[case.name]
        restored = as_float(read_stored(path, clean.shape[1]))[None]
        if restored.shape != clean.shape:
            sizes = [f"{image.shape[3]}x{image.shape[2]}" for image in (restored, clean)]
            raise ValueError(f"{path} is {sizes[0]}, and its clean image {case.name} is {sizes[1]}")
        before = (math.nan, math.nan) if degraded is clean or degraded.equal(clean) else _both(degraded, clean, channel)
        after = _both(restored, clean, channel)
        scores.append(Score(case.task, case.name, before[0], after[0], before[1], after[1], math.nan, method=BY_OTHERS))
        if progress is not None:
            progress(len(scores), len(found), scores[-1])
    return Evaluation(scores)


def matched(folder: str | Path, names: Sequence[str]) -> dict[str, Path]:
    """Match the images of a folder to names such as "lake/boat.png".

    The longest name that fits wins.

    Raises:
        ValueError: an image that fits none, or two that fit one.
    """
    stems = {str(Path(name).with_suffix("")): name for name in names}
    found: dict[str, Path] = {}
    for path in image_files(folder):
        own = str(path.relative_to(folder).with_suffix(""))
        fitting = [stem for stem in stems if _belongs(own, stem)]
        if not fitting:
            raise ValueError(f"{path} is a result of no clean image: none is called {own}, or the beginning of that")
        name = stems[max(fitting, key=len)]
        if name in found:
            raise ValueError(f"{found[name]} and {path} are both results of the clean image {name}")
        found[name] = path
    return found


def _belongs(own: str, stem: str) -> bool:
    """True for the name itself, or with more behind it that does not go on with a letter or a digit."""
    return own == stem or re.match(re.escape(stem) + r"[^0-9A-Za-z/]", own) is not None


def _both(images: Tensor, clean: Tensor, channel: Channel) -> tuple[float, float]:
    measures: tuple[Callable[..., Tensor], ...] = (psnr, ssim)
    values = [float(measure(images, clean, channel)) for measure in measures]
    return values[0], values[1]
