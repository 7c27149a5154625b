"""How models do on pictures that they were not made for: clean ones, real pairs, degradations of other make.

    export REBRIDGE_DATA=data
    python benchmarks/pictures.py --model rdbm-tiny --model rdbm-small --write docs/tables/pictures.json

PSNR in dB over crops of at most 320 pixels, in automatic mode and with the kind named. For clean pictures the input is the truth,
and the figure is the harm done. Photographs are those that `rebridge.data.mixtures.held_out` keeps out of training; the
degradations below are written with numpy, Pillow and OpenCV alone, other than those that models are trained on. `real-pairs` is
for development only.
"""

import argparse
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from rebridge import Restorer, degradations
from rebridge.data.folders import image_files, read_stored
from rebridge.data.mixtures import held_out
from rebridge.evaluation.plain import LUMA
from rebridge.models import TrainedModel
from rebridge.networks.careful import Careful

DATA = Path(os.environ.get("REBRIDGE_DATA", "data"))
CROP = 320
Array = np.ndarray


class Case(NamedTuple):
    """A degraded picture and the truth, (H, W, 3) float32 in [0, 1], the kinds that a user would name, and what is compared."""

    name: str
    degraded: Array
    truth: Array
    kinds: tuple[str, ...] = ()
    within: tuple[slice, slice] = (slice(None), slice(None))


def read(path: Path) -> Array:
    """Read a picture as (H, W, 3) float32 in [0, 1]."""
    stored = read_stored(path)
    return (stored.float() / 255 if stored.dtype == torch.uint8 else stored).permute(1, 2, 0).numpy()


def crop(image: Array, side: int = CROP) -> Array:
    """Cut the middle of a picture, at most side x side."""
    height, width = image.shape[:2]
    top, left = max(height - side, 0) // 2, max(width - side, 0) // 2
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def eight_bits(image: Array) -> Array:
    """Round to what a file holds."""
    return (np.clip(image, 0, 1) * 255).round().astype(np.float32) / 255


def pillow(image: Array) -> Image.Image:
    """Turn a picture into Pillow's."""
    return Image.fromarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8))


def reduced(image: Array, factor: float) -> Array:
    """Reduce a picture with Pillow's box-prefiltered Lanczos, so that no trace of JPEG is left."""
    height, width = image.shape[:2]
    small = pillow(image).resize((round(width * factor), round(height * factor)), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float32) / 255


def saved(image: Array, quality: int) -> Array:
    """Save as JPEG and read again."""
    with io.BytesIO() as file:
        pillow(image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file), np.float32) / 255


def held(folder: str, count: int, factor: float) -> list[Array]:
    """Pick the first held-out pictures of a training folder, reduced, as crops."""
    files = [path for path in image_files(DATA / "train" / folder) if held_out(path) and "_crop" not in path.stem]
    return [crop(reduced(read(path), factor)) for path in files[:count]]


def photographs() -> list[Array]:
    """Gather held-out photographs without traces of JPEG."""
    found = held("clean/wallpapers", 8, 0.6) + held("clean/imagenet", 12, 0.6) + held("bsd432", 12, 0.6)
    return found + held("clean/urban100", 5, 0.5) + held("clean/sunhays80", 5, 0.6) + held("clean/t91", 6, 1.0)


def drawn() -> Iterator[Case]:
    """Draw ramps, flat pictures, lines and text, which no model may change."""
    ramp = np.linspace(0, 1, CROP, dtype=np.float32)[None, :, None].repeat(CROP, 0).repeat(3, 2)
    yield Case("ramp", eight_bits(ramp), eight_bits(ramp))
    tinted = ramp * np.array([0.9, 0.6, 0.3], np.float32) + 0.05
    for picture in (tinted, tinted[:, ::-1].transpose(1, 0, 2)):
        yield Case("ramp", eight_bits(picture), eight_bits(picture))
    for tone in (0.1, 0.5, 0.95):
        flat = np.full((192, 192, 3), tone, np.float32)
        yield Case("flat", eight_bits(flat), eight_bits(flat))
    random = np.random.default_rng(3)
    for ink, paper in (("black", "white"), ("white", "black"), ("navy", "ivory")):
        drawn = Image.new("RGB", (CROP, CROP), paper)
        pen = ImageDraw.Draw(drawn)
        for _ in range(30):
            pen.line(
                [tuple(p) for p in random.integers(0, CROP, (2, 2)).tolist()],
                fill=ink,
                width=int(random.integers(1, 4)),
            )
            x, y, r = random.integers(10, CROP, 3).tolist()
            pen.ellipse((x, y, x + r / 4, y + r / 4), outline=ink)
        yield Case("line art", lines := np.asarray(drawn, np.float32) / 255, lines)
        page = Image.new("RGB", (CROP, CROP), paper)
        for row in range(20):
            ImageDraw.Draw(page).text(
                (8, 6 + 15 * row), "The quick brown fox jumps over 13 lazy dogs; sphinx of quartz.", fill=ink
            )
        yield Case("text", text := np.asarray(page, np.float32) / 255, text)
    for _ in range(3):
        yield Case("stars", sky := stars(random), sky)
        yield Case("drawn on black", figure := on_black(random), figure)


def stars(random: np.random.Generator) -> Array:
    """Draw a night sky: points of light of all sizes on a glow and a little grain."""
    sky = np.zeros((CROP, CROP, 3), np.float32)
    for x, y, size, light in zip(*random.uniform(0, CROP, (2, 500)), *random.power(0.3, (2, 500)), strict=True):
        r = 0.5 + 2 * size
        across, down = (np.exp(-(((np.arange(CROP) - place) / r) ** 2)) for place in (x, y))
        sky += (down[:, None] * across[None])[..., None] * (0.1 + 0.9 * light) * random.uniform(0.7, 1, 3)
    clouds = cv2.GaussianBlur(random.standard_normal((CROP, CROP)).astype(np.float32), (0, 0), 40)
    glow = (clouds / clouds.std()).clip(0)[..., None] * random.uniform(0.02, 0.15, 3)
    return eight_bits(sky + glow + 0.01 * random.standard_normal(sky.shape))


def on_black(random: np.random.Generator) -> Array:
    """Draw shaded figures on black, as charts of the stars have them."""
    page = np.zeros((CROP, CROP), np.float32)
    for x, y in random.uniform(0.25 * CROP, 0.75 * CROP, (6, 2)):
        across, down = random.uniform(0.05 * CROP, 0.2 * CROP, 2)
        height, width = np.mgrid[:CROP, :CROP]
        inside = ((width - x) / across) ** 2 + ((height - y) / down) ** 2
        page = np.where(inside < 1, random.uniform(0.15, 0.4) * (1 - 0.5 * inside), page)
    return eight_bits(page[..., None].repeat(3, 2))


def with_few_colours(name: str, picture: Array) -> Iterator[Case]:
    """Yield a picture in grey, toned, and with a third of its colour, as photographs of before and of bad weather are."""
    grey = (picture @ LUMA)[..., None]
    toned = grey ** np.array([0.9, 1.0, 1.25], np.float32) * np.array([1.0, 0.95, 0.85], np.float32)
    for what, found in (("grey", grey.repeat(3, 2)), ("toned", toned), ("few colours", grey + (picture - grey) / 3)):
        yield Case(f"{name}, {what}", rounded := eight_bits(found), rounded)


def clean() -> Iterator[Case]:
    """Yield all that is sound, as harm is measured on it."""
    for picture in photographs():
        yield Case("clean photographs", picture, picture)
        yield Case("clean, quality 90", s := saved(picture, 90), s)
        yield Case("clean, overexposed", bright := eight_bits(4 * picture), bright)
        yield from with_few_colours("clean", picture)
    for path in image_files(DATA / "eval/cbsd68")[::6]:
        half = crop(reduced(read(path), 0.5))
        yield Case("clean photographs", half, half)
    for name in ("celebahq", "screenshots", "receipts", "rendered"):
        for picture in held(f"clean/{name}", 8, 0.75):
            yield Case("faces" if name == "celebahq" else f"clean {name}", picture, picture)
    yield from drawn()


def independent() -> Iterator[Case]:
    """Yield sound pictures that no threshold was set on: CBSD68, reduced and whole, and the truths of real pairs."""
    for path in image_files(DATA / "eval/cbsd68"):
        for factor in (0.5, 0.75):
            picture = reduced(read(path), factor)
            yield Case("clean CBSD68", picture, picture)
        yield from with_few_colours("clean CBSD68", picture)
        yield Case("clean CBSD68, overexposed", bright := eight_bits(4 * picture), bright)
        for side in (192, CROP):
            part = crop(read(path), side)
            yield Case("clean CBSD68, cut out", part, part)
    for path in sorted((DATA / "real-pairs").glob("*/gt/*")):
        truth = crop(read(path), 400)
        yield Case("clean real truths", truth, truth)


def streaks(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Draw rain on a page four times as large: tapered polygons, each of its own brightness; (H, W) in [0, 1]."""
    height, width = shape[:2]
    page = Image.new("L", (2 * width, 2 * height))
    pen = ImageDraw.Draw(page)
    slant = random.normal(0, 0.2)
    for _ in range(int(height * width * random.uniform(0.002, 0.006))):
        x, y, length = random.uniform(-40, 2 * width), random.uniform(-120, 2 * height), random.gamma(3, 14)
        thick = random.uniform(0.8, 2.6)
        end = (x + slant * length, y + length)
        pen.polygon([(x, y), (x + thick, y), (end[0] + thick / 2, end[1]), end], fill=int(random.uniform(60, 230)))
    soft = page.filter(ImageFilter.GaussianBlur(0.9)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(soft, np.float32) / 255


def rain(image: Array, random: np.random.Generator) -> Array:
    """Screen streaks over the picture: y = 1 - (1 - x)(1 - s)."""
    return 1 - (1 - image) * (1 - 0.8 * streaks(image.shape, random)[..., None])


def snow(image: Array, random: np.random.Generator) -> Array:
    """Scatter Gaussian flakes whose size and brightness go together, and pale the picture a little."""
    height, width = image.shape[:2]
    field = np.zeros((height, width), np.float32)
    for size, share in ((0.8, 0.006), (1.6, 0.0015), (3.2, 0.0003)):
        grains = (random.random((height, width)) < share).astype(np.float32) * random.uniform(0.5, 1, (height, width))
        blurred = np.asarray(Image.fromarray(grains.astype(np.float32)).filter(ImageFilter.BoxBlur(0)), np.float32)
        radius = math.ceil(3 * size)
        line = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * size**2)).astype(np.float32)
        for axis in (0, 1):
            blurred = np.apply_along_axis(np.convolve, axis, blurred, line, "same")
        field = np.maximum(field, blurred.astype(np.float32))
    cover = np.clip(field, 0, 1)[..., None] * 0.9
    return (0.93 * image + 0.05) * (1 - cover) + cover


def drops(image: Array, random: np.random.Generator) -> Array:
    """Lay caps of water before the picture: their slope turns the light aside, a lamp above is mirrored in them."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    water: Array = np.zeros((height, width), np.float32)
    for _ in range(int(random.integers(8, 40))):
        radius, tall = random.uniform(5, 28), random.uniform(0.9, 1.5)
        far = ((x - random.uniform(0, width)) / radius) ** 2 + ((y - random.uniform(0, height)) / (tall * radius)) ** 2
        water = np.maximum(water, 0.7 * radius * np.sqrt(np.clip(1 - far, 0, 1)))
    water = cv2.GaussianBlur(water, (0, 0), 1.2)
    down, across = np.gradient(water)
    upright = 1 / np.sqrt(1 + down**2 + across**2)
    bent = random.uniform(25, 60)
    soft = cv2.GaussianBlur(image, (0, 0), random.uniform(1, 3))
    turned = x + bent * across * upright, y + bent * down * upright
    seen = cv2.remap(soft, *turned, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    towards = np.clip(upright * (0.8 - 0.35 * across - 0.5 * down), 0, 1)
    lit = seen * (0.75 + 0.3 * towards[..., None]) + 0.6 * towards[..., None] ** 24
    cover = np.clip(water / 3, 0, 1)[..., None]
    return image * (1 - cover) + cover * np.clip(lit, 0, 1)


def depth_haze(image: Array, random: np.random.Generator) -> Array:
    """Haze of a depth that rises to the top, with two nearer boxes."""
    height, width = image.shape[:2]
    depth = np.linspace(random.uniform(1.2, 2.4), 0.25, height, dtype=np.float32)[:, None].repeat(width, 1)
    for _ in range(2):
        y, x = random.integers(0, height // 2), random.integers(0, width // 2)
        depth[y:, x : x + width // 4] *= 0.6
    through = np.exp(-depth * random.uniform(0.5, 1.1))[..., None]
    return image * through + (1 - through) * (random.uniform(0.75, 0.97) + np.array([0.0, 0.005, 0.015]))


def night(image: Array, random: np.random.Generator) -> Array:
    """Scale linear light by 0.03 to 0.12 with photon noise, gamma 2.2 both ways."""
    light = image.astype(np.float64) ** 2.2 * random.uniform(0.03, 0.12)
    wells = random.uniform(2000, 9000)
    return np.clip(random.poisson(light * wells) / wells, 0, 1) ** (1 / 2.2)


def dim(image: Array, random: np.random.Generator) -> Array:
    """Darken by a tone curve, 0.6 x^2.2."""
    return 0.6 * image**2.2


def white(sigma: float) -> Callable[[Array, np.random.Generator], Array]:
    """Make white noise of a deviation of `sigma` of 255."""
    return lambda image, random: image + random.normal(0, sigma / 255, image.shape)


def blurred(radius: float) -> Callable[[Array, np.random.Generator], Array]:
    """Make a Gaussian blur of `radius` px by Pillow."""
    return lambda image, random: np.asarray(pillow(image).filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def compressed(quality: int) -> Callable[[Array, np.random.Generator], Array]:
    """Make a JPEG of a quality."""
    return lambda image, random: saved(image, quality)


FOREIGN: tuple[tuple[str, tuple[str, ...], Callable[[Array, np.random.Generator], Array]], ...] = (
    ("rain", ("rain",), rain),
    ("snow", ("snow",), snow),
    ("raindrops", ("raindrop",), drops),
    ("haze by depth", ("haze",), depth_haze),
    ("night, photon noise", ("lowlight",), night),
    ("dark, 0.6 x^2.2", ("lowlight",), dim),
    ("noise 3", ("noise",), white(3)),
    ("noise 5", ("noise",), white(5)),
    ("noise 15", ("noise",), white(15)),
    ("noise 25", ("noise",), white(25)),
    ("noise 50", ("noise",), white(50)),
    ("JPEG 10", ("jpeg",), compressed(10)),
    ("JPEG 20", ("jpeg",), compressed(20)),
    ("JPEG 40", ("jpeg",), compressed(40)),
    ("JPEG 90", ("jpeg",), compressed(90)),
    ("blur 0.5", ("blur",), blurred(0.5)),
    ("blur 1.6", ("blur",), blurred(1.6)),
    ("mild haze", ("haze",), lambda image, random: 0.9 * image + 0.09),
    ("mild dark", ("lowlight",), lambda image, random: image / 1.25),
    (
        "haze + noise 15",
        ("haze", "noise"),
        lambda image, random: white(15)(eight_bits(depth_haze(image, random)), random),
    ),
    ("rain + night", ("rain", "lowlight"), lambda image, random: night(np.clip(rain(image, random), 0, 1), random)),
)


FRAMED = ("rain", "snow", "haze by depth", "night, photon noise", "noise 25", "JPEG 10", "blur 1.6")
"""Of these, the sets that are also shown with a border around each picture."""


def foreign() -> Iterator[Case]:
    """Degrade held-out photographs by other means than training does."""
    pictures = [picture for picture in photographs() if min(picture.shape[:2]) >= 180][::3]
    for name, kinds, degrade in FOREIGN:
        for index, picture in enumerate(pictures):
            random = np.random.default_rng([index, len(name)])
            yield Case(name, eight_bits(degrade(picture, random)), picture, kinds)


def bordered(image: Array, turn: int) -> tuple[Array, tuple[slice, slice]]:
    """Put an even border around a picture: bars, a white mat, a black frame, or a mat with a line within, in turn.

    Returns:
        The larger picture, and where the smaller one lies in it.
    """
    height, width = image.shape[:2]
    wide = max(min(height, width) // 15, 6)
    bars = turn % 4 == 0
    down, across = (height // 7, 0) if bars else (wide, wide)
    larger = np.full((height + 2 * down, width + 2 * across, 3), 1.0 if turn % 2 else 0.0, np.float32)
    if turn % 4 == 3:
        larger[wide - 5 : wide + height + 5, wide - 5 : wide + width + 5] = 0.1
    within = slice(down, down + height), slice(across, across + width)
    larger[within] = image
    return larger, within


def framed() -> Iterator[Case]:
    """Put borders around sound photographs, and around some that were degraded by other means than training does."""
    sound = (Case("sound", picture, picture) for picture in photographs() if min(picture.shape[:2]) >= 180)
    for turn, case in enumerate([*sound, *(case for case in foreign() if case.name in FRAMED)]):
        (degraded, within), (truth, _) = bordered(case.degraded, turn), bordered(case.truth, turn)
        yield Case(f"{case.name}, framed", degraded, truth, case.kinds, within)


def real() -> Iterator[Case]:
    """Read photographed and published pairs, for development only."""
    for folder, kind in (("noise", "noise"), ("haze_indoor", "haze"), ("haze_outdoor", "haze"), ("rain", "rain")):
        for path in image_files(DATA / "real-pairs" / folder / "lq"):
            degraded, truth = read(path), read(DATA / "real-pairs" / folder / "gt" / path.name)
            yield Case(f"real {folder}", crop(degraded, 400), crop(truth, 400), (kind,))


def own(count: int) -> Iterator[Case]:
    """Degrade CBSD68 as `rebridge degrade` does by default."""
    files = image_files(DATA / "eval/cbsd68")[:: max(68 // count, 1)]
    for kind in ("rain", "haze", "snow", "raindrop", "lowlight", "noise", "blur", "jpeg"):
        for index, path in enumerate(files):
            truth = read(path)
            image = torch.from_numpy(truth).permute(2, 0, 1)[None].contiguous()
            degraded = degradations.create(kind)(image, torch.Generator().manual_seed(index))[0]
            yield Case(f"own {kind}", eight_bits(degraded.permute(1, 2, 0).numpy()), truth, (kind,))


Restore = Callable[[Array, tuple[str, ...]], Array]


def restorer(name: str) -> Restore:
    """Load a packaged model or a folder.

    What it makes restores for the kinds it is given, or by itself where there are none.
    """
    by_itself = Restorer.from_pretrained(name)
    if not isinstance(by_itself.model.network, Careful):
        return lambda image, kinds: np.asarray(by_itself(image, seed=0))

    def restore(image: Array, kinds: tuple[str, ...]) -> Array:
        model = by_itself.model
        chosen = Restorer(model.treating(list(kinds))) if kinds and isinstance(model, TrainedModel) else by_itself
        return np.asarray(chosen(image))

    return restore


def psnr(a: Array, b: Array) -> float:
    """PSNR in dB of 8-bit pictures in [0, 1], at most 100."""
    error = float(np.mean((eight_bits(a).astype(np.float64) - b) ** 2))
    return 100.0 if error == 0 else min(100.0, -10 * math.log10(error))


def compared(image: Array, case: Case) -> float:
    """PSNR of a result for a case."""
    return psnr(image[case.within], case.truth[case.within])


def measure(cases: list[Case], restore: Restore) -> dict[str, float]:
    """Compare results with the truth: means, the worst, and shares of pictures that were harmed."""
    before = np.array([compared(case.degraded, case) for case in cases])
    begin = time.time()
    after = np.array([compared(restore(case.degraded, ()), case) for case in cases])
    figures = {
        "images": len(cases),
        "in": before.mean(),
        "out": after.mean(),
        "median": float(np.median(after)),
        "worst": after.min(),
        "below 30": float((after < 30).sum()),
        "worse by 0.1": float((after < before - 0.1).sum()),
        "seconds": (time.time() - begin) / len(cases),
    }
    if cases[0].kinds:
        figures["named"] = float(np.mean([compared(restore(case.degraded, case.kinds), case) for case in cases]))
    return {key: round(float(value), 3) for key, value in figures.items()}


def main() -> None:
    """Print one table for each model, and write all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--sets", default="clean,real,foreign,own")
    parser.add_argument("--own", type=int, default=10)
    parser.add_argument("--write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sources = {
        "clean": clean,
        "independent": independent,
        "real": real,
        "foreign": foreign,
        "framed": framed,
        "own": lambda: own(options.own),
    }
    groups: dict[str, list[Case]] = {}
    for key in options.sets.split(","):
        for case in sources[key]():
            groups.setdefault(case.name, []).append(case)
    tables: dict[str, dict[str, Any]] = {}
    for name in options.model:
        restore = restorer(name)
        tables[name] = {}
        print(f"\n{name}\n{'set':22s}    n     in    out  median  worst  <30 worse  named")
        for key, cases in groups.items():
            row = tables[name][key] = measure(cases, restore)
            print(
                f"{key:22s} {row['images']:4.0f} {row['in']:6.2f} {row['out']:6.2f} {row['median']:7.2f} {row['worst']:6.2f}"
                f" {row['below 30']:4.0f} {row['worse by 0.1']:5.0f} {row.get('named', math.nan):6.2f}",
                flush=True,
            )
    if options.write:
        Path(options.write).write_text(json.dumps(tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
