"""Degrade three photographs in several ways, restore them with the packaged model, show figures and pictures.

python examples/demo.py [--model NAME|DIR] [--task rain --task blur ...] [--steps N] [--out DIR]
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
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

PHOTOS = Path(__file__).parent / "images"
TASKS = ("rain", "haze", "snow", "lowlight", "noise", "blur")
SEED = 0
CAPTION_HEIGHT = 26


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="rdbm-tiny", help="packaged model or folder (default: %(default)s)")
    parser.add_argument(
        "--images", type=Path, default=PHOTOS, help="folder of clean images (default: the three photographs)"
    )
    parser.add_argument("--task", action="append", help=f"a degradation; repeat it (default: {', '.join(TASKS)})")
    parser.add_argument("--steps", type=int, help="steps of the sampler (default: what the model recommends)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo-results"), help="folder for the pictures (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> None:
    """Restore every photograph from every degradation."""
    wanted = arguments()
    cases = synthetic_cases(wanted.images, wanted.task or TASKS, SEED)
    restore = rebridge.Restorer.from_pretrained(wanted.model)
    wanted.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    scores, rows = [], []
    for case in track(cases, "restoring", console=Console(stderr=True), transient=True):
        clean, degraded = case.load()
        start = time.perf_counter()
        restored = restore(degraded, steps=wanted.steps, seed=SEED)
        score = measured(case.task, case.name, clean, degraded, restored, time.perf_counter() - start)
        row = side_by_side(
            (clean, f"{case.name}: clean"),
            (degraded, f"{case.task}: {score.input_psnr:.1f} dB"),
            (restored, f"restored: {score.psnr:.1f} dB"),
        )
        row.save(wanted.out / f"{case.task}-{case.name.replace('/', '-')}.png")
        scores.append(score)
        rows.append(row)
    # One photograph per task, each task with another photograph.
    photos = len(scores) // len({score.task for score in scores})
    stacked([rows[first + index % photos] for index, first in enumerate(range(0, len(rows), photos))]).save(
        wanted.out / "overview.png"
    )
    columns = [column for column in IMAGE_COLUMNS if column.key not in ("method", "clean_psnr")]
    Console(width=None if sys.stdout.isatty() else 120).print(table(scores, columns))
    gain = sum(score.gain for score in scores) / len(scores)
    seconds = time.monotonic() - began
    print(f"{len(scores)} images restored in {seconds:.0f} s with {wanted.model}; mean gain {gain:+.2f} dB")
    print(f"pictures (clean | degraded | restored): {wanted.out.resolve()}; all tasks at a glance: overview.png")


def measured(task: str, name: str, clean: Tensor, degraded: Tensor, restored: Tensor, seconds: float) -> Score:
    """PSNR and SSIM of one image before and after."""
    before, after, truth = degraded[None], restored[None], clean[None]
    return Score(
        task,
        name,
        input_psnr=psnr(before, truth).item(),
        psnr=psnr(after, truth).item(),
        input_ssim=ssim(before, truth).item(),
        ssim=ssim(after, truth).item(),
        seconds=seconds,
    )


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
