"""Figures of docs/irbridge.md: a generative model inside a bridge on real images, against the same model without one.

    python benchmarks/irbridge_figures.py --clean $REBRIDGE_DATA/eval/cbsd68 --dtype bfloat16

prints PSNR in dB by task for the presets, for generation from pure noise ("ddim") and for SDEdit, all with as many calls of the
same network, and the seconds per image at 25, 50 and 100 steps; writes docs/tables/irbridge.json and a plot in docs/images.
Every image that is done is kept in --output, so a run that was stopped goes on where it was; other weights begin anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

from motion_blur import add_clean, clean_of
from torch import Tensor

from rebridge import degradations
from rebridge.data.seeds import generator_of
from rebridge.evaluation import Case, synthetic_cases
from rebridge.evaluation.metrics import psnr
from rebridge.evaluation.plots import new_figure
from rebridge.images import quantise
from rebridge.images.atomic import write_atomic
from rebridge.models import Model, find_model, load_prior
from rebridge.models.config import PRESET_FILE, WEIGHTS_FILE
from rebridge.restoration import Restorer

TASKS = ("rain", "haze", "snow", "raindrop", "lowlight", "inpaint")
WANTED = {"rain": 4.0, "haze": 4.0, "snow": 4.0, "lowlight": 5.0, "inpaint": 8.0}
"""Mean gain in dB that the packaged model should reach."""
WAYS = ("sound", "paper", "ddim", "sdedit")


def with_holes(case: Case) -> tuple[Tensor, Tensor]:
    """The clean image of a case, and the same with a fifth of its pixels missing under brush strokes."""
    clean, _ = case.load()
    degradation = degradations.create("inpaint", fraction=0.2)
    return clean, quantise(degradation(clean[None], generator=generator_of(0, "inpaint", case.name))[0])


def cases_of(folder: Path, task: str) -> list[Case]:
    """Every image of a folder, degraded as `rebridge evaluate` does; for inpainting with 20 % of the pixels missing."""
    if task != "inpaint":
        return synthetic_cases(folder, [task])
    return [Case(task, case.name, partial(with_holes, case)) for case in synthetic_cases(folder, ["clean"])]


def restorer_of(prior: Model, way: str, task: str) -> tuple[Restorer, str]:
    """The restorer and the name of its sampler: a preset (or a file of presets), or a baseline without a bridge."""
    if way in ("ddim", "sdedit"):
        return Restorer.from_preset(prior, "sound", task), way
    return Restorer.from_preset(prior, way, task), "irbridge"


def measure(prior: Model, case: Case, way: str, steps: int) -> dict[str, float]:
    """PSNR of one image before and after, and the seconds it took."""
    restore, sampler = restorer_of(prior, way, case.task)
    clean, degraded = (image[None] for image in case.load())
    began = time.perf_counter()
    restored = restore(degraded, steps=steps, sampler=sampler)
    seconds = time.perf_counter() - began
    return {"input": float(psnr(degraded, clean)), "psnr": float(psnr(restored, clean)), "seconds": seconds}


def identity(name: str, dtype: str | None) -> str:
    """Identify what figures depend on beside image and settings: weights, the model's presets, precision."""
    folder = find_model(name)
    content = b"".join(
        (folder / file).read_bytes() for file in (WEIGHTS_FILE, PRESET_FILE) if (folder / file).is_file()
    )
    return f"{hashlib.sha256(content).hexdigest()[:12]} {dtype or 'float32'}"


def mean(kept: dict[str, Any], way: str, task: str, steps: int, key: str, images: list[str]) -> float | None:
    """Mean over the images that are done with this way, None before the first."""
    entries = [kept[name][key] for image in images if (name := f"{way}|{task}|{steps}|{image}") in kept]
    return statistics.fmean(entries) if entries else None


def report(kept: dict[str, Any], ways: list[str], tasks: list[str], steps: int, images: list[str]) -> None:
    """The table of what is done so far."""
    done = min(sum(f"{way}|{task}|{steps}|{i}" in kept for i in images) for way in ways for task in tasks)
    print(f"\nPSNR in dB, means over {done} to {len(images)} images, {steps} calls of the network\n")
    print("| task | degraded | " + " | ".join(ways) + " | gain of the best preset | asked for |")
    print("|---|---|" + "---|" * (len(ways) + 2))
    for task in tasks:
        before = mean(kept, ways[0], task, steps, "input", images)
        values = [mean(kept, way, task, steps, "psnr", images) for way in ways]
        if before is None or None in values:
            continue
        bridges = [v for way, v in zip(ways, values, strict=True) if way not in ("ddim", "sdedit") and v is not None]
        cells = [before, *values]
        wanted = f"{WANTED[task]:.0f}" if task in WANTED else "-"
        gain = max(bridges, default=before) - before
        print(f"| {task} | " + " | ".join(f"{cell:.2f}" for cell in cells) + f" | {gain:+.2f} | {wanted} |")


def plot(kept: dict[str, Any], ways: list[str], tasks: list[str], steps: int, images: list[str], path: Path) -> None:
    """Gain over the degraded image by task and way."""
    figure, (axis,) = new_figure(width=8.0)
    width = 0.8 / len(ways)
    for number, way in enumerate(ways):
        gains = []
        for task in tasks:
            after, before = (mean(kept, way, task, steps, key, images) for key in ("psnr", "input"))
            gains.append(0.0 if after is None or before is None else after - before)
        axis.bar([place + number * width for place in range(len(tasks))], gains, width, label=way)
    axis.set_xticks([place + 0.4 - width / 2 for place in range(len(tasks))], tasks)
    axis.set_ylabel(f"gain in PSNR (dB), {steps} calls")
    axis.legend()
    axis.grid(alpha=0.3, axis="y")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")


def timing(prior: Model, case: Case, counts: list[int]) -> None:
    """Seconds per image over the number of steps, with the paper's preset, which leaves no step out."""
    restore = Restorer.from_preset(prior, "paper", case.task)
    _, degraded = case.load()
    restore(degraded[None], steps=2)
    print("\n| steps | seconds per image | seconds per step |")
    print("|---|---|---|")
    for steps in counts:
        began = time.perf_counter()
        restore(degraded[None], steps=steps)
        seconds = time.perf_counter() - began
        print(f"| {steps} | {seconds:.2f} | {seconds / steps:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_clean(parser)
    parser.add_argument("--model", default="pixel-prior-tiny")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), help="presets, files of presets, ddim, sdedit")
    parser.add_argument("--limit", type=int, help="only so many images, evenly spread over the folder")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--dtype", help="float32, or bfloat16 for speed")
    parser.add_argument("--timing", type=int, nargs="*", default=[25, 50, 100], help="numbers of steps to time")
    parser.add_argument("--output", type=Path, default=Path("docs/tables/irbridge.json"))
    parser.add_argument("--plot", type=Path, default=Path("docs/images/irbridge-baselines.png"))
    options = parser.parse_args()
    options.clean = clean_of(options, parser)
    prior = load_prior(options.model, dtype=options.dtype)
    stored: dict[str, Any] = json.loads(options.output.read_text()) if options.output.exists() else {}
    model = identity(options.model, options.dtype)
    kept: dict[str, Any] = stored.get("figures", {}) if stored.get("model") == model else {}
    cases = {task: cases_of(options.clean, task) for task in options.tasks}
    count = len(cases[options.tasks[0]])
    chosen = range(count) if options.limit is None else [n * count // options.limit for n in range(options.limit)]
    images = [cases[options.tasks[0]][number].name for number in chosen]
    for number in chosen:
        for task in options.tasks:
            for way in options.ways:
                case = cases[task][number]
                name = f"{way}|{task}|{options.steps}|{case.name}"
                if name not in kept:
                    kept[name] = measure(prior, case, way, options.steps)
                    write_atomic(
                        options.output,
                        (json.dumps({"model": model, "figures": kept}, indent=0) + "\n").encode(),
                        overwrite=True,
                    )
    report(kept, options.ways, options.tasks, options.steps, images)
    plot(kept, options.ways, options.tasks, options.steps, images, options.plot)
    if options.timing:
        timing(prior, cases[options.tasks[0]][0], options.timing)


if __name__ == "__main__":
    main()
