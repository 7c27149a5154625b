"""Speed of an exported model beside torch's, in one table.

    python benchmarks/export_speed.py rdbm-tiny enlarge-small --sides 128 256

One call of the denoiser on one thread, the median of several, in seconds of the processor, which hold on a busy machine too;
megapixels a second, and how far the estimates are apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rebridge.commands.export import export
from rebridge.commands.options import ExportOptions
from rebridge.integrations.onnx_runner import INT8_FILE, OnnxRestorer
from rebridge.models import load_model


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """The median time of the processor for a call, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return statistics.median(times)


def rows(name: str, sides: list[int], repeats: int) -> list[list[str]]:
    """The lines of the table for one model."""
    model: Any = load_model(name, device="cpu")
    found = []
    with tempfile.TemporaryDirectory() as place:
        export(ExportOptions(model=name, output=Path(place)))
        runners = {"onnxruntime": OnnxRestorer(place, threads=1)}
        if (Path(place) / INT8_FILE).is_file():
            runners["onnxruntime, int8"] = OnnxRestorer(place, int8=True, threads=1)
        for side in sides:
            x = np.random.default_rng(0).uniform(-1, 1, (1, model.info.channels, side, side)).astype(np.float32)
            tensor, one = torch.from_numpy(x), torch.ones(1)
            with torch.no_grad():
                wanted = model.denoiser(tensor, one, tensor).numpy()
                seconds = {"torch": median_seconds(lambda: model.denoiser(tensor, one, tensor), repeats)}  # noqa: B023
            apart = {"torch": 0.0}
            for label, runner in runners.items():
                seconds[label] = median_seconds(lambda: runner.denoise(x, 1.0, x), repeats)  # noqa: B023
                apart[label] = float(np.abs(runner.denoise(x, 1.0, x) - wanted).max())
            for label, value in seconds.items():
                speed = side * side / value / 1e6
                found.append(
                    [name, str(side), label, f"{1000 * value:.1f}", f"{speed:.2f}", f"{seconds['torch'] / value:.2f}",
                     f"{apart[label]:.1e}"]
                )  # fmt: skip
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["rdbm-tiny", "enlarge-small"])
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| model | side | runtime | ms | megapixels/s | times torch | largest difference |\n|---|---|---|---|---|---|---|"
    )
    for name in given.models:
        for row in rows(name, given.sides, given.repeats):
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
