"""Prints where the time of a restoration goes: by kind of operation, by part of the network, by stage of the journey.

    python benchmarks/layers.py --json docs/tables/layers.json

For each model: one evaluation of its network on a photograph, timed alone (the median of several) and once more under the
profiler, whose shares are scaled to that time; then the whole way of a PNG from file to file. The floor of the machine, dense
3x3 convolutions of 64 channels, is measured in turn with the network, as others may use the machine too. A model that decides by
itself is told the task, so that it works.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from floor import Stopwatch, convolution_speed, machine, median_seconds, sentence
from torch import Tensor, nn
from torch.autograd.profiler import record_function
from torch.nn.functional import interpolate
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import rebridge
from rebridge import degradations
from rebridge.images import Image, read_image, write_image
from rebridge.models import TrainedModel, load_model
from rebridge.networks import fast, judging

PHOTO = Path(__file__).parent.parent / "examples" / "images" / "chelsea.jpg"
MODELS = ("rdbm-tiny", "rdbm-small", "enlarge-small", "inpaint-small")
KINDS = {
    "convolutions": ("aten::conv2d", "aten::convolution"),
    "matrix products": ("aten::linear", "aten::addmm", "aten::matmul", "aten::mm", "aten::bmm"),
    "norms": ("aten::layer_norm", "aten::native_layer_norm"),
    "Fourier transforms": ("aten::fft_",),
    "interpolation": ("aten::upsample",),
    "shuffling of pixels": ("aten::pixel_",),
    "statistics and pooling": (
        *("aten::avg_pool", "aten::max_pool", "aten::adaptive", "aten::quantile", "aten::sort", "aten::mean"),
        *("aten::sum", "aten::amin", "aten::amax", "aten::std", "aten::topk", "aten::median", "aten::gather"),
    ),
    "copies and borders": (
        *("aten::copy_", "aten::cat", "aten::clone", "aten::contiguous", "aten::pad", "aten::reflection", "aten::to"),
        *("aten::replication", "aten::constant_pad", "aten::unfold", "aten::col2im", "aten::index", "aten::roll"),
        *("aten::fill_", "aten::zeros", "aten::empty"),
    ),
}
"""Kinds of operations, and how the names of those begin that belong to each; the rest works element by element."""
REST = "element by element"
PARTS = {
    "Equaliser": "equaliser", "DegradationClassifier": "classifier", "Examiner": "examiner", "Tone": "tone",
    "TrustMap": "trust", "Trunk": "trunk", "Verdict": "verdict",
}  # fmt: skip
"""Classes of modules, and the names of the parts of a network that they are."""
FUNCTIONS = ((judging, "picture_statistics", "statistics"), (fast, "fill_holes", "filling"))
MARK = "part: "


def kind_of(name: str) -> str | None:
    """Find the kind of an operation by its name; None for one that works element by element."""
    return next((kind for kind, begins in KINDS.items() if name.startswith(begins)), None)


def marked(call: Callable[..., Any], label: str) -> Callable[..., Any]:
    """Make a function that shows under a label in the profile."""

    def shown(*args: Any, **given: Any) -> Any:
        with record_function(MARK + label):
            return call(*args, **given)

    return shown


def shares(
    network: nn.Module, run: Callable[[], object], repeats: int = 5
) -> tuple[dict[str, float], dict[str, float]]:
    """Profile a network: the share of its time by kind of operation, and by part."""
    kinds: dict[str, float] = defaultdict(float)
    parts: dict[str, float] = defaultdict(float)
    with ExitStack() as stack:
        for module in network.modules():
            label = PARTS.get(type(module).__name__)
            if label is not None:
                stack.enter_context(patch.object(module, "forward", marked(module.forward, label)))
        for place, name, label in FUNCTIONS:
            stack.enter_context(patch.object(place, name, marked(getattr(place, name), label)))
        run()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(repeats):
                run()
    for event in found.events():
        chain = list(ancestry(event))
        spent = float(event.self_cpu_time_total)
        if event.name.startswith("aten::"):
            kinds[next(filter(None, (kind_of(one) for one in reversed(chain))), REST)] += spent
        parts[next((one.removeprefix(MARK) for one in chain if one.startswith(MARK)), "the rest")] += spent
    return normalised(kinds), normalised(parts)


def ancestry(event: Any) -> Iterable[str]:
    """Names of an event and of all around it, from the inner to the outer."""
    while event is not None:
        yield event.name
        event = event.cpu_parent


def normalised(spent: dict[str, float]) -> dict[str, float]:
    """Turn times into shares, the largest first."""
    total = sum(spent.values())
    return {name: round(value / total, 4) for name, value in sorted(spent.items(), key=lambda item: -item[1])}


def told(model: Any) -> Any:
    """Name the task to a model that decides by itself."""
    try:
        return model.treating(["noise"])
    except ValueError:
        return model


def picture(side: int) -> Tensor:
    """Make a noisy photograph (1, 3, side, side), with a hole for models that fill."""
    photo = interpolate(read_image(PHOTO).pixels[None, :3], (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    noisy = degradations.create("noise")(photo, torch.Generator().manual_seed(0))
    noisy[..., side // 3 : side // 2, side // 3 : side // 2] = 127.5 / 255
    return noisy


def journey(model: Any, side: int, repeats: int) -> dict[str, float]:
    """Restore a PNG from file to file: the milliseconds of each stage, medians."""
    network = Stopwatch()
    restore = rebridge.Restorer(model).wrapped(network)
    stages: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        path, out = Path(place) / "in.png", Path(place) / "out.png"
        write_image(path, Image(picture(side)[0]))
        for _ in range(repeats + 1):
            out.unlink(missing_ok=True)
            times, network.seconds = [time.perf_counter()], 0.0
            image = read_image(path)
            times.append(time.perf_counter())
            result = restore(image)
            times.append(time.perf_counter())
            write_image(out, result)
            times.append(time.perf_counter())
            stages["decoding"].append(times[1] - times[0])
            stages["network"].append(network.seconds)
            stages["sampling, tiles, conversion"].append(times[2] - times[1] - network.seconds)
            stages["encoding"].append(times[3] - times[2])
    return {name: round(1e3 * median(values[1:]), 2) for name, values in stages.items()}


def beside_the_floor(run: Callable[[], object], flops: float, repeats: int) -> tuple[float, float]:
    """Time a network and the convolutions of the floor in turn.

    Returns:
        Seconds of the network and its share of the floor's speed, medians.
    """
    found = []
    for _ in range(repeats):
        peak = convolution_speed(repeats=5)
        seconds = median_seconds(run, 1)
        found.append((seconds, flops / seconds / peak))
    times, parts = zip(*found, strict=True)
    return median(times), median(parts)


def measure(name: str, side: int, repeats: int) -> dict[str, Any]:
    """Measure one model: the record of its times."""
    loaded = load_model(name, device="cpu")
    assert isinstance(loaded, TrainedModel)
    model = told(loaded)
    network = model.network
    y = model.space.encode(picture(side))
    times = torch.ones(1)

    def run() -> Tensor:
        return network(y, times, y)

    with FlopCounterMode(display=False) as counter:  # with gradients, as strips of rows compute some rows twice
        run()
    with torch.inference_mode():
        seconds, share = beside_the_floor(run, counter.get_total_flops(), repeats)
        kinds, parts = shares(network, run)
    speed = counter.get_total_flops() / seconds / 1e9
    return {
        "model": name,
        "GFLOP": round(counter.get_total_flops() / 1e9, 2),
        "milliseconds": round(1e3 * seconds, 1),
        "GFLOP/s": round(speed, 1),
        "share of the floor": round(share, 3),
        "kinds": kinds,
        "parts": parts,
        "journey": journey(model, side, repeats),
    }


def main() -> None:
    """Print the profile of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help=f"repeat it (default: {', '.join(MODELS)})")
    parser.add_argument("--side", type=int, default=256, help="pixels (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="threads (default: torch's own choice)")
    parser.add_argument("--json", type=Path, help="file to write")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    floor = machine()
    print(sentence(floor))
    rows = []
    for name in options.model or MODELS:
        row = measure(name, options.side, options.repeats)
        rows.append(row)
        print(f"\n{', '.join(f'{key} {value}' for key, value in row.items() if not isinstance(value, dict))}")
        for group in ("kinds", "parts"):
            print("  " + ", ".join(f"{key} {share:.1%}" for key, share in row[group].items()))
        print("  " + ", ".join(f"{key} {value} ms" for key, value in row["journey"].items()), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": floor, "side": options.side, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
