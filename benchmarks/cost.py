"""Prints what the packaged models cost: seconds per megapixel on one thread, memory of the process, parameters, size.

    python benchmarks/cost.py --side 384 --json docs/tables/cost.json

Each model restores a noisy photograph of examples/images, enlarged to the given side, in a process of its own; the task is
named, so that none leaves it alone. `enlarge-small` is counted per pixel of its result, a prior by its default preset, or where
it has none as a denoiser in ten steps. Seconds are those of the processor, so that they hold on a busy machine too; memory is
the most that the process ever held, Python and torch included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import interpolate

import rebridge
from rebridge import degradations
from rebridge.images import read_image
from rebridge.models import load_model, packaged
from rebridge.models.places import PACKAGED

PHOTO = Path(__file__).parent.parent / "examples" / "images" / "chelsea.jpg"
RUNS = 2


def told(model: Any) -> Any:
    """Name the task to a model that decides by itself, so that it does not leave the photograph alone."""
    try:
        return model.treating(["noise"])
    except ValueError:
        return model


def measure(name: str, side: int) -> dict[str, Any]:
    """Restore a photograph of side x side pixels with one model: the record of its costs."""
    torch.set_num_threads(1)
    photo = read_image(PHOTO).pixels[None, :3]
    photo = interpolate(photo, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    noisy = degradations.create("noise")(photo, torch.Generator().manual_seed(0))
    model = load_model(name)
    if not name.startswith("pixel-prior"):
        restore = rebridge.Restorer(told(model))
    elif "rain" in model.tasks:
        restore = rebridge.Restorer.from_preset(model, task="rain")
    else:
        restore = rebridge.Restorer(model, sampler="denoise:sigma=25")
    restore(noisy[..., :64, :64])
    seconds = []
    for _ in range(RUNS):
        began = time.process_time()
        restore(noisy)
        seconds.append(time.process_time() - began)
    return {
        "model": name,
        "parameters": model.parameters,
        "megabytes": round((PACKAGED / name / "model.safetensors").stat().st_size / 1e6, 2),
        "seconds per megapixel": round(min(seconds) / (side * side / 1e6), 2),
        "peak megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Print a line for each packaged model, measured in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", action="append", help="packaged model; repeat it (default: all)")
    parser.add_argument("--side", type=int, default=512, help="pixels (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--alone", action="store_true", help="measure in this process, and print JSON")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(options.model[0], options.side)))
        return
    rows = []
    for name in options.model or sorted(packaged()):
        words = [sys.executable, __file__, "--alone", "--model", name, "--side", str(options.side)]
        ended = subprocess.run(words, capture_output=True, text=True, check=True)
        rows.append(json.loads(ended.stdout.splitlines()[-1]))
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps({"side": options.side, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
