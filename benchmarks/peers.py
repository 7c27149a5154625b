"""What quality costs: our models beside what a user would pick instead, on the same pictures and one thread.

    export REBRIDGE_DATA=data
    python benchmarks/peers.py --json docs/tables/quality-cost.json --plot docs/images/quality-cost.png
    python benchmarks/peers.py --task "noise 25" --command NAME 'tool {input} {output}'

Peers are OpenCV (non-local means, median, enlarging), scikit-image (total variation, Richardson-Lucy) and BM3D
(the package bm3d); what is not installed is left out, and said. They are told the level of the noise and the blur, which are
true; our models are told the task. A command is any program that reads a PNG and writes one of the size of the truth.

PSNR in dB of 8-bit pictures; seconds are those of the processor, per megapixel of the result. A command's are those of its
process, with its start. The floor is a dense convolution of 64 channels in float32, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from floor import machine, sentence
from pictures import Array, crop, eight_bits, read
from PIL import Image

from rebridge import Restorer, networks
from rebridge.data.folders import image_files
from rebridge.evaluation import psnr
from rebridge.models import TrainedModel, load_model

DATA = Path(os.environ.get("REBRIDGE_DATA", "data"))
SIGMA, BLUR, QUALITY, FACTORS = 25, 1.6, 10, (2, 4)
GREENS, GREYS = ("#004d40", "#00897b", "#43a047", "#7cb342"), ("#212121", "#616161", "#8d6e63", "#d84315")
Filter = Callable[[Array], Array]


@dataclass(frozen=True)
class Cost:
    """Quality and cost of one method on one task.

    Attributes:
        task, method: their names.
        ours: whether it is a model of this library.
        psnr: mean over the pictures, in dB.
        seconds: of the processor, for a megapixel of the result.
        share: of the speed of the floor, for a model of ours whose operations are counted.
    """

    task: str
    method: str
    ours: bool
    psnr: float
    seconds: float
    share: float | None = None


def tensor(image: Array) -> torch.Tensor:
    """Turn (H, W, 3) into (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None]


def enlarged(image: Array, height: int, width: int, method: int = cv2.INTER_CUBIC) -> Array:
    """Enlarge by OpenCV."""
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.float32)


def degraded(task: str, truth: Array, seed: int) -> Array:
    """Degrade a picture to 8 bits; smaller for enlarging."""
    if task.startswith("noise"):
        noise = np.random.default_rng(seed).standard_normal(truth.shape).astype(np.float32)
        return eight_bits(truth + SIGMA / 255 * noise)
    if task.startswith("blur"):
        return eight_bits(cv2.GaussianBlur(truth, (0, 0), BLUR, borderType=cv2.BORDER_REFLECT))
    if task.startswith("JPEG"):
        pixels = (truth[..., ::-1] * 255).round().astype(np.uint8)
        stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        return np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR))[..., ::-1].astype(np.float32) / 255
    factor = int(task.split()[1])
    height, width = (side // factor for side in truth.shape[:2])
    small = Image.fromarray((truth * 255).round().astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255


TASKS = (f"noise {SIGMA}", f"blur {BLUR}", f"JPEG {QUALITY}", *(f"enlarge {factor}" for factor in FACTORS))


def non_local_means(strength: float, image: Array) -> Array:
    """Denoise by OpenCV's non-local means; the strength is in levels of 255."""
    pixels = (image * 255).round().astype(np.uint8)
    found = cv2.fastNlMeansDenoisingColored(pixels, None, strength, strength, 7, 21)
    return np.asarray(found, np.float32) / 255


def median(image: Array) -> Array:
    """Take the median of 3 x 3 pixels."""
    return np.asarray(cv2.medianBlur(image, 3), np.float32)


def richardson_lucy(method: Callable[..., Array], image: Array, rounds: int = 10, border: int = 16) -> Array:
    """Deconvolve each colour by scikit-image's method; mirrored borders keep its rings away."""
    side = cv2.getGaussianKernel(13, BLUR)
    wide = np.pad(image, ((border, border), (border, border), (0, 0)), mode="symmetric")
    found = np.stack([method(wide[..., colour], side @ side.T, rounds) for colour in range(3)], -1)
    return found[border:-border, border:-border]


def peers(task: str) -> tuple[dict[str, Filter], list[str]]:
    """List the methods of others for a task, and what is missing in a sentence each."""
    found: dict[str, Filter] = {}
    missing = []
    kind = task.split()[0]
    sigma = {"noise": SIGMA, "JPEG": 10}.get(kind)
    if sigma is not None:
        found["median 3 x 3 (OpenCV)"] = median
        found["non-local means (OpenCV)"] = partial(non_local_means, 0.8 * sigma)
    try:
        from skimage import restoration
    except ImportError:
        missing.append("total variation and Richardson-Lucy are left out: pip install scikit-image")
    else:
        if sigma is not None:
            weight = 1.5 * sigma / 255
            found["total variation (skimage)"] = lambda image: restoration.denoise_tv_chambolle(
                image, weight=weight, channel_axis=-1
            )
        if kind == "blur":
            found["Richardson-Lucy (skimage)"] = partial(richardson_lucy, restoration.richardson_lucy)
    if kind == "noise":
        try:
            from bm3d import bm3d_rgb
        except ImportError:
            missing.append("BM3D is left out: pip install bm3d (its licence is for study alone)")
        else:
            found["BM3D (bm3d)"] = lambda image: bm3d_rgb(image, SIGMA / 255)
    return found, missing


def ours(task: str) -> dict[str, tuple[Filter, TrainedModel]]:
    """List our models for a task, told what it is where they can be told."""
    kind = task.split()[0]
    if kind == "enlarge":
        return {"enlarge-small": restorer("enlarge-small", None)}
    names = {
        "noise": ("rdbm-tiny", "rdbm-small", "rdbm-texture"),
        "blur": ("rdbm-tiny", "rdbm-small", "hi-diff-blur-tiny"),
    }
    found = {name: restorer(name, kind.lower()) for name in names.get(kind, ("rdbm-tiny", "rdbm-small"))}
    return {**found, "rdbm-small, by itself": restorer("rdbm-small", None)}


def restorer(name: str, kind: str | None) -> tuple[Filter, TrainedModel]:
    """Make a filter of a packaged model, with what it is told."""
    model = load_model(name, device="cpu")
    assert isinstance(model, TrainedModel)
    if kind is not None:
        try:
            model = model.treating([kind])
        except ValueError:  # a model that cannot be told
            kind = None
    restore = Restorer(model)
    return lambda image: restore(tensor(image))[0].permute(1, 2, 0).numpy(), model


def run_command(words: str, image: Array) -> Array:
    """Run a program on a picture: {input} is a PNG, {output} another one."""
    with tempfile.TemporaryDirectory() as place:
        files = {key: str(Path(place) / f"{key}.png") for key in ("input", "output")}
        Image.fromarray((image * 255).round().astype(np.uint8)).save(files["input"])
        command = [word.format(**files) for word in shlex.split(words)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode or not Path(files["output"]).is_file():
            said = (ended.stderr or ended.stdout).strip().splitlines()
            raise ValueError(said[-1] if said else f"exit code {ended.returncode}, and no output")
        return np.asarray(Image.open(files["output"]).convert("RGB"), np.float32) / 255


def measured(call: Filter, pairs: Sequence[tuple[Array, Array]], process: bool = False) -> tuple[float, float]:
    """Mean PSNR, and seconds of the processor for a megapixel; those of child processes for a command."""

    def clock() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime if process else time.process_time()

    if not process:
        call(pairs[0][1])  # what is done once does not count
    values, seconds, pixels = [], 0.0, 0
    for truth, image in pairs:
        began = clock()
        result = call(image)
        seconds += clock() - began
        if result.shape != truth.shape:
            raise ValueError(f"the result has the shape {result.shape}, and the truth {truth.shape}")
        values.append(psnr(tensor(np.clip(result, 0, 1)), tensor(truth)).item())
        pixels += truth.shape[0] * truth.shape[1]
    return statistics.fmean(values), seconds / (pixels / 1e6)


def compared(task: str, truths: Sequence[Array], commands: Sequence[tuple[str, str]], floor: float) -> list[Cost]:
    """Measure all methods on a task.

    Args:
        task: one of `TASKS`.
        truths: the pictures.
        commands: names and command lines.
        floor: speed of the machine in GFLOP/s.
    """
    pairs = [(truth, degraded(task, truth, seed)) for seed, truth in enumerate(truths)]
    height, width = truths[0].shape[:2]
    rows = []
    if task.startswith("enlarge"):
        for name, method in (("bicubic (OpenCV)", cv2.INTER_CUBIC), ("Lanczos (OpenCV)", cv2.INTER_LANCZOS4)):
            rows.append(
                Cost(task, name, False, *measured(partial(enlarged, height=height, width=width, method=method), pairs))
            )
        models = [(truth, enlarged(image, height, width)) for truth, image in pairs]
    else:
        rows.append(Cost(task, "degraded", False, measured(lambda image: image, pairs)[0], 0.0))
        models = pairs
    found, missing = peers(task)
    for reason in missing:
        print(f"{task}: {reason}")
    rows += [Cost(task, name, False, *measured(call, pairs)) for name, call in found.items()]
    for name, (call, model) in ours(task).items():
        quality, seconds = measured(call, models)
        work = networks.cost(model.network).flops / (256 * 256 / 1e6) / 1e9 * Restorer(model).sampler().steps
        rows.append(Cost(task, name, True, quality, seconds, work / seconds / floor))
    for name, words in commands:
        try:
            rows.append(Cost(task, name, False, *measured(partial(run_command, words), pairs, process=True)))
        except (ValueError, OSError) as error:
            print(f"{task}: {name} is left out: {error}")
    return rows


def plot(rows: Sequence[Cost], path: Path) -> None:
    """Draw quality against cost, a field for each task."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row.task for row in rows))
    figure = Figure(figsize=(3.6 * min(len(tasks), 3), 3.2 * -(-len(tasks) // 3)), layout="constrained")
    for place, task in enumerate(tasks, 1):
        axes: Any = figure.add_subplot(-(-len(tasks) // 3), min(len(tasks), 3), place)
        shown = [row for row in rows if row.task == task and row.seconds > 0]
        for own, marks, colours in ((True, "os^D", GREENS), (False, "x+*P", GREYS)):
            part = [row for row in shown if row.ours == own]
            for number, row in enumerate(part):
                mark, colour = marks[number % len(marks)], colours[number % len(colours)]
                axes.plot(row.seconds, row.psnr, mark, color=colour, label=row.method, markersize=6, alpha=0.9)
        for row in rows:
            if row.task == task and row.seconds == 0:
                axes.axhline(row.psnr, color="#9e9e9e", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_title(task, fontsize=9)
        axes.legend(fontsize=6, loc="lower right" if task.startswith("enlarge") else "best")
        axes.set_xlim(5e-4, 400)
        axes.margins(y=0.15)
        axes.tick_params(labelsize=7)
        axes.set_xlabel("processor seconds per megapixel", fontsize=7)
        axes.set_ylabel("PSNR, dB", fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print a line for each method, and write what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=Path, default=DATA / "eval" / "cbsd68", help="folder (default: %(default)s)")
    parser.add_argument("--task", action="append", choices=TASKS, help="repeat it (default: all)")
    parser.add_argument("--limit", type=int, default=6, help="pictures (default: %(default)s)")
    parser.add_argument("--side", type=int, default=192, help="of the crops (default: %(default)s)")
    parser.add_argument("--command", nargs=2, action="append", default=[], metavar=("NAME", "'tool {input} {output}'"))
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    files = image_files(options.clean)
    chosen = files[:: max(len(files) // options.limit, 1)][: options.limit]
    side = options.side // max(FACTORS) * max(FACTORS)
    truths = [crop(read(path), side) for path in chosen]
    found = machine(bfloat16=False)
    print(sentence(found))
    rows: list[Cost] = []
    for task in options.task or TASKS:
        for row in compared(task, truths, options.command, float(found["float32 GFLOP/s"])):
            rows.append(row)
            share = "" if row.share is None else f", {row.share:.0%} of the floor"
            print(f"{row.task}: {row.method}: {row.psnr:.2f} dB, {row.seconds:.2f} s/megapixel{share}", flush=True)
    if options.json is not None:
        about = {"machine": sentence(found), "pictures": len(truths), "side": side}
        options.json.write_text(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    if options.plot is not None:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
