"""Pictures and pages to look at: sliders, pairs, and a sheet of all."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image as PILImage
from torch.nn.functional import interpolate

from rebridge.images import Image, to_samples, write_atomic, write_image

PAGE, PAIR = "_compare.html", "_compare.png"
"""Endings of the files beside a result."""
GAP = 8
"""Pixels between two pictures that lie side by side."""
THUMB = 320
"""Longest side of a picture on a contact sheet."""
LABEL = 22
"""Height in pixels of a line of text on a contact sheet."""
COLUMNS = 2
"""Pairs in a row of a contact sheet."""
PAGE_QUALITY = 92


class SheetRow(NamedTuple):
    """One picture of a contact sheet, before and after, both small."""

    name: str
    before: PILImage.Image
    after: PILImage.Image


def shown(image: Image) -> PILImage.Image:
    """Turn a picture into 8 bits and three colours, on white."""
    pixels = image.pixels.detach().float().cpu()
    if image.alpha is not None:
        alpha = image.alpha.detach().float().cpu()
        pixels = alpha * pixels + 1 - alpha
    return PILImage.fromarray(np.ascontiguousarray(to_samples(pixels.expand(3, -1, -1), 8)))


def view_files(output: Path) -> list[Path]:
    """List the files that `write_views` writes beside a result."""
    return [output.with_name(output.stem + ending) for ending in (PAGE, PAIR)]


def write_views(output: Path, before: Image, after: Image, overwrite: bool = False) -> list[Path]:
    """Write a page with a slider, and a picture of both, beside a result.

    Args:
        output: file of the result.
        before: the picture as it was; it is shown in the size of the other.
        after: the result.
        overwrite: replace files that exist.

    Returns:
        The page and the picture.
    """
    page, pair = view_files(output)
    left, right = shown(before), shown(after)
    if left.size != right.size:
        left = left.resize(right.size, PILImage.Resampling.BICUBIC)
    write_atomic(page, compare_page(output.name, left, right, after.icc).encode(), overwrite)
    both = PILImage.new("RGB", (2 * right.width + GAP, right.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (right.width + GAP, 0))
    buffer = io.BytesIO()
    both.save(buffer, "PNG", **({} if after.icc is None else {"icc_profile": after.icc}))
    write_atomic(pair, buffer.getvalue(), overwrite)
    return [page, pair]


def compare_page(name: str, before: PILImage.Image, after: PILImage.Image, icc: bytes | None = None) -> str:
    """Make a page that needs no other file and no network.

    Args:
        name: what the pictures are called.
        before: one of two pictures of one size.
        after: the other.
        icc: colour profile of both.
    """
    title = html.escape(name)
    return _PAGE.format(title=title, width=after.width, before=_data(before, icc), after=_data(after, icc))


def thumbnail(image: Image) -> PILImage.Image:
    """Make a picture as small as contact sheets show it."""
    height, width = image.pixels.shape[1:]
    factor = min(1.0, THUMB / max(height, width))
    size = (max(round(height * factor), 1), max(round(width * factor), 1))
    small = interpolate(image.pixels.detach().float()[None].cpu(), size, mode="area")[0]
    alpha = None if image.alpha is None else interpolate(image.alpha[None].float().cpu(), size, mode="area")[0]
    return shown(Image(small, alpha=alpha))


def write_sheet(path: Path, rows: Sequence[SheetRow], overwrite: bool = False) -> None:
    """Write one picture with all pictures before and after.

    Args:
        path: of any format that is written.
        rows: one for each picture.
        overwrite: replace a file that exists.
    """
    from PIL import ImageDraw, ImageFont

    cell = 2 * THUMB + GAP
    columns = min(COLUMNS, len(rows))
    heights = [
        max(max(row.before.height, row.after.height) for row in rows[first : first + columns]) + LABEL
        for first in range(0, len(rows), columns)
    ]
    size = (columns * (cell + 2 * GAP), sum(heights) + 2 * GAP * len(heights))
    sheet = PILImage.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    top = GAP
    for number, height in enumerate(heights):
        for column, row in enumerate(rows[number * columns : (number + 1) * columns]):
            left = GAP + column * (cell + 2 * GAP)
            draw.text((left, top), _shortened(row.name), fill="black", font=font)
            sheet.paste(row.before, (left, top + LABEL))
            sheet.paste(row.after, (left + THUMB + GAP, top + LABEL))
        top += height + 2 * GAP
    pixels = torch.from_numpy(np.asarray(sheet).copy()).permute(2, 0, 1).float() / 255
    write_image(path, Image(pixels), overwrite)


def _shortened(name: str, most: int = 70) -> str:
    kept = name if len(name) <= most else f"{name[: most // 2]}...{name[-most // 2 :]}"
    return f"{kept}: before, after"


def _data(image: PILImage.Image, icc: bytes | None) -> str:
    """A picture as an address that holds it."""
    buffer = io.BytesIO()
    profile = {} if icc is None else {"icc_profile": icc}
    image.save(buffer, "JPEG", quality=PAGE_QUALITY, subsampling=0, **profile)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}: before and after</title>
<style>
body {{ margin: 16px; font: 16px/1.5 system-ui, sans-serif; }}
#stage {{ position: relative; width: {width}px; max-width: 100%; }}
#stage img {{ display: block; width: 100%; }}
#over {{ position: absolute; inset: 0; clip-path: inset(0 0 0 50%); }}
#slider {{ display: block; width: {width}px; max-width: 100%; margin: 8px 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
<div id="stage">
<img src="{before}" alt="{title} before">
<img id="over" src="{after}" alt="{title} after">
</div>
<label for="slider">Left of the edge: before; right of it: after</label>
<input id="slider" type="range" min="0" max="100" step="0.1" value="50">
<script>
"use strict";
const slider = document.getElementById("slider"), stage = document.getElementById("stage");
const show = () => {{ document.getElementById("over").style.clipPath = `inset(0 0 0 ${{slider.value}}%)`; }};
slider.addEventListener("input", show);
stage.addEventListener("pointermove", (event) => {{
  const box = stage.getBoundingClientRect();
  slider.value = 100 * (event.clientX - box.left) / box.width;
  show();
}});
show();
</script>
</body>
</html>
"""
