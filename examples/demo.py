"""Degrade three photographs in several ways, restore them with the packaged models, show figures and pictures.

python examples/demo.py [--model NAME|DIR ...] [--task rain ...] [--other rain ...] [--steps N] [--out DIR]

`--task` is a degradation as `rebridge degrade` makes it, which the models were trained on; `--other` one that was written apart
from those (benchmarks/pictures.py), as other people's pictures are. The models are told what is wrong, where they can be.
"""

import argparse
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from rich.console import Console
from rich.progress import track
from torch import Tensor

import rebridge
from rebridge.evaluation import Score, psnr, ssim, synthetic_cases
from rebridge.evaluation.evaluate import IMAGE_COLUMNS
from rebridge.evaluation.tables import table
from rebridge.images import to_samples
from rebridge.models import load_model

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from pictures import FOREIGN

PHOTOS = Path(__file__).parent / "images"
MODELS = ("rdbm-tiny", "rdbm-small")
TASKS = ("rain", "haze", "snow", "lowlight", "noise", "blur")
OTHERS = ("rain", "snow", "haze by depth", "night, photon noise")
SEED = 0
CAPTION_HEIGHT = 26
OVERVIEW_WIDTH = 1100


@dataclass(frozen=True)
class Example:
    """A photograph and its degraded version, (3, H, W) in [0, 1].

    Attributes:
        task: how it was degraded, in words.
        name: of the photograph.
        clean, degraded: the two.
        kinds: what a user would say is wrong.
    """

    task: str
    name: str
    clean: Tensor
    degraded: Tensor
    kinds: tuple[str, ...]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--model", action="append", help=f"packaged model or folder; repeat it (default: {', '.join(MODELS)})"
    )
    parser.add_argument(
        "--images", type=Path, default=PHOTOS, help="folder of clean images (default: the three photographs)"
    )
    parser.add_argument("--task", action="append", help=f"a degradation; repeat it (default: {', '.join(TASKS)})")
    parser.add_argument(
        "--other", action="append", choices=[name for name, _, _ in FOREIGN],
        help=f"one of other make; repeat it (default: {'; '.join(OTHERS)}, unless --task is given)",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, help="steps of the sampler (default: what the model recommends)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo-results"), help="folder for the pictures (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> None:
    """Restore every photograph from every degradation by every model."""
    wanted = arguments()
    unsaid = wanted.task is None and wanted.other is None
    examples = own(wanted.images, TASKS if unsaid else wanted.task or ())
    examples += of_other_make(wanted.images, OTHERS if unsaid else wanted.other or ())
    models = [load_model(name) for name in wanted.model or MODELS]
    wanted.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    scores, rows = [], []
    for example in track(examples, "restoring", console=Console(stderr=True), transient=True):
        panels = [(example.clean, f"{example.name}: clean")]
        for model in models:
            start = time.perf_counter()
            restored = restorer(model, example.kinds)(example.degraded, steps=wanted.steps, seed=SEED)
            scores.append(measured(example, model.info.name, restored, time.perf_counter() - start))
            if len(panels) == 1:
                panels.append((example.degraded, f"{example.task}: {scores[-1].input_psnr:.1f} dB"))
            panels.append((restored, f"{model.info.name}: {scores[-1].psnr:.1f} dB"))
        row = side_by_side(*panels)
        row.save(wanted.out / f"{filename(example.task)}-{filename(example.name)}.png")
        rows.append(row)
    # One photograph per task, each task with another photograph.
    photos = len(examples) // len({example.task for example in examples})
    overview = stacked([rows[first + index % photos] for index, first in enumerate(range(0, len(rows), photos))])
    overview.thumbnail((OVERVIEW_WIDTH, overview.height))
    overview.save(wanted.out / "overview.jpg", quality=88)
    report(scores, [model.info.name for model in models], time.monotonic() - began)
    print(f"pictures (clean | degraded | restored): {wanted.out.resolve()}; all tasks at a glance: overview.jpg")


def own(folder: Path, tasks: tuple[str, ...] | list[str]) -> list[Example]:
    """Degrade photographs as `rebridge degrade` does."""
    cases = synthetic_cases(folder, tasks, SEED) if tasks else []
    return [Example(case.task, case.name, *case.load(), (case.task,)) for case in cases]


def of_other_make(folder: Path, names: tuple[str, ...] | list[str]) -> list[Example]:
    """Degrade photographs by renderers that no model was trained on."""
    renderers = {name: (kinds, degrade) for name, kinds, degrade in FOREIGN}
    photographs = [(case.name, case.load()[0]) for case in synthetic_cases(folder, ["clean"], SEED)] if names else []
    found = []
    for name in names:
        kinds, degrade = renderers[name]
        for index, (photograph, clean) in enumerate(photographs):
            degraded = degrade(clean.permute(1, 2, 0).numpy(), np.random.default_rng([index, len(name)]))
            pixels = torch.from_numpy(np.clip(degraded, 0, 1).astype(np.float32)).permute(2, 0, 1).contiguous()
            found.append(Example(f"{name} (other make)", photograph, clean, (pixels * 255).round() / 255, kinds))
    return found


def restorer(model: Any, kinds: tuple[str, ...]) -> rebridge.Restorer:
    """Make a restorer that is told what is wrong, where the model can be told and knows it."""
    try:
        return rebridge.Restorer(model.treating(kinds))
    except ValueError:
        return rebridge.Restorer(model)


def measured(example: Example, model: str, restored: Tensor, seconds: float) -> Score:
    """PSNR and SSIM of one image before and after."""
    before, after, truth = example.degraded[None], restored[None], example.clean[None]
    return Score(
        example.task,
        example.name,
        input_psnr=psnr(before, truth).item(),
        psnr=psnr(after, truth).item(),
        input_ssim=ssim(before, truth).item(),
        ssim=ssim(after, truth).item(),
        seconds=seconds,
        method=model,
    )


def report(scores: list[Score], models: list[str], seconds: float) -> None:
    """Print all figures, and the mean gain of each model."""
    hidden = {"clean_psnr"} if len(models) > 1 else {"clean_psnr", "method"}
    columns = [column for column in IMAGE_COLUMNS if column.key not in hidden]
    Console(width=None if sys.stdout.isatty() else 120).print(table(scores, columns))
    print(f"{len(scores)} images restored in {seconds:.0f} s")
    for name in models:
        gains = [score.gain for score in scores if score.method == name]
        print(f"{name}: mean gain {sum(gains) / len(gains):+.2f} dB")


def filename(words: str) -> str:
    """Write words as a part of a file's name."""
    return re.sub(r"[^\w.]+", "-", words).strip("-")


def side_by_side(*panels: tuple[Tensor, str]) -> Picture.Image:
    """Images (3, H, W) of one size in a row, each above its caption."""
    pixels = np.concatenate([to_samples(image, 8) for image, _ in panels], axis=1)
    row = Picture.new("RGB", (pixels.shape[1], pixels.shape[0] + CAPTION_HEIGHT), "white")
    row.paste(Picture.fromarray(pixels))
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(size=15)
    width = pixels.shape[1] // len(panels)
    for index, (_, caption) in enumerate(panels):
        draw.text((index * width + 6, pixels.shape[0] + 4), caption, "black", font)
    return row


def stacked(rows: list[Picture.Image]) -> Picture.Image:
    """Pictures one below the other, on white."""
    sheet = Picture.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")
