"""Prints what a GPU makes of the packaged models, of training and of sampling, beside what the device can do.

    python benchmarks/gpu.py --json docs/tables/gpu.json
    python benchmarks/gpu.py --device cpu --quick           # tries the whole out, small

Times are medians; those of networks and of the floor are taken between events of the device. float32 stands for what torch makes
of it, on recent GPUs convolutions in TF32. Beside the time of a network stand its TFLOP/s and its share of the floor, dense 3x3
convolutions of 64 channels in the same precision. A restoration goes from the processor's memory there and back. Each part has a
time limit, and one that fails loses no other; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from device import Bench, tf32
from floor import WIDTH
from layers import picture
from overhead import fitting
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from training_speed import CONFIG, PICTURES, PLAIN, RUN, WAYS

import rebridge
from rebridge import samplers
from rebridge.denoisers.machine import describe_machine, physical_cores
from rebridge.models import TrainedModel, load_model
from rebridge.samplers import ImageNoise
from rebridge.training import Step, load_config, train
from rebridge.training.data import Awaited

CASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("rdbm-tiny", ("noise",)),
    ("rdbm-tiny", ()),
    ("rdbm-small", ("noise",)),
    ("rdbm-small", ()),
    ("enlarge-small", ()),
    ("inpaint-small", ()),
    ("rdbm-texture", ()),
    ("pixel-prior-small", ()),
)
"""Models, and the kinds of degradation that are named to them, so that they work."""
LARGE = ("rdbm-small", ("noise",))
"""Restored at 3840x2160 too."""
PRECISIONS = ("float32", "bfloat16")
FLOORS = {"float32": "TF32", "bfloat16": "bfloat16"}
"""The convolutions that a precision is compared with."""
SAMPLERS = (
    *("dbim:steps=10", "dbim:steps=10,order=3", "dbim:steps=10,eta=1", "ode:steps=10,method=heun"),
    *("sde:steps=10", "exponential:steps=10", "irbridge:steps=10"),
)
TRAININGS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    (PLAIN, 8, WAYS[PLAIN]),
    ("bf16, 8 workers", 8, ("precision=bf16", "channels_last=true", "data.workers=8")),
    ("bf16, batch 64", 64, ("precision=bf16", "channels_last=true", "data.workers=8")),
    ("bf16, batch 64, a worker for each core but one", 64, ("precision=bf16", "channels_last=true")),
)
"""Name, batch and settings of each way to train; the last gets its workers by the machine."""
NOT_COUNTED = 4
LIMITS = {"machine": 15, "models": 45, "training": 32, "samplers": 15}
"""Seconds of each part."""


@dataclass(frozen=True)
class Sizes:
    """Sides of pictures, batches and seconds.

    side: of a picture alone and in a batch; large: height and width; crop: of the picture that is compared with the processor's;
    floor: side and batch of the convolution that is measured; matrix: its side; training: seconds of each way.
    """

    side: int = 512
    batch: int = 16
    large: tuple[int, int] = (2160, 3840)
    crop: int = 256
    floor: tuple[int, int] = (512, 16)
    matrix: int = 8192
    training: float = 5.0


QUICK = Sizes(64, 2, (96, 160), 64, (32, 1), 128, 0.5)
TOTAL = 86.0
"""Seconds of all parts together."""


def machine(bench: Bench, sizes: Sizes) -> None:
    """Measure what the device can do."""
    found: dict[str, Any] = {**describe_machine(), "torch": torch.__version__, "cores": physical_cores()}
    if bench.on_gpu:
        found |= {"device": torch.cuda.get_device_name(bench.device), "cuda": torch.version.cuda}
        found["TF32 by default"] = torch.backends.cudnn.allow_tf32
    bench.table["machine"] = found
    side, batch = sizes.floor
    for name, dtype, fast in (
        ("float32", torch.float32, False), ("TF32", torch.float32, True), ("bfloat16", torch.bfloat16, True),
    ):  # fmt: skip
        with bench.attempt(name), tf32(fast), torch.inference_mode():
            layer: Any = nn.Conv2d(WIDTH, WIDTH, 3, padding=1).to(bench.device, dtype)
            layer = layer.to(memory_format=torch.channels_last)
            features = torch.randn(batch, WIDTH, side, side, device=bench.device, dtype=dtype)
            features = features.contiguous(memory_format=torch.channels_last)
            seconds = bench.seconds(lambda: layer(features))  # noqa: B023
            found[f"{name} convolution TFLOP/s"] = round(2 * 9 * WIDTH**2 * side**2 * batch / seconds / 1e12, 3)
    length = sizes.matrix
    with bench.attempt("matrix product"):
        first, second = torch.randn(2, length, length, device=bench.device).bfloat16()
        found["bfloat16 matrix TFLOP/s"] = round(2 * length**3 / bench.seconds(lambda: first @ second) / 1e12, 3)
    with bench.attempt("copy"):
        source = torch.zeros(length * length * 4, dtype=torch.uint8, device=bench.device)
        target = torch.empty_like(source)
        found["copy GB/s"] = round(2 * source.numel() / bench.seconds(lambda: target.copy_(source)) / 1e9, 1)
    print(", ".join(f"{key} {value}" for key, value in found.items()), flush=True)


def opened(name: str, kinds: tuple[str, ...], device: torch.device, dtype: str) -> TrainedModel:
    """Open a model, with its task named."""
    model = load_model(name, device, dtype=dtype)
    assert isinstance(model, TrainedModel)
    return model.treating(kinds) if kinds else model


def levels(one: Tensor, other: Tensor) -> float:
    """Measure the largest difference of a pixel in levels of 255."""
    return round(255 * float((one - other).abs().max()), 3)


def network_row(bench: Bench, model: TrainedModel, side: int, count: int, floor: float) -> dict[str, Any]:
    """Time the network alone on `count` pictures."""
    images = picture(side).to(bench.device).expand(count, -1, -1, -1).contiguous()
    denoiser = model.given(None if model.process.generative else images)
    y = model.space.encode(images)
    t = torch.ones(count, device=bench.device)
    with FlopCounterMode(display=False) as counter:  # with gradients, as strips of rows compute some rows twice
        model.network(y[:1], t[:1], y[:1])
    with torch.inference_mode():
        seconds = bench.seconds(lambda: denoiser(y, t, y))
    speed = count * counter.get_total_flops() / seconds / 1e12
    return {
        "GFLOP a picture": round(counter.get_total_flops() / 1e9, 2),
        "network ms": round(1e3 * seconds, 3),
        "TFLOP/s": round(speed, 3),
        "share of the floor": round(speed / floor, 4) if floor else None,
    }


def restoring(bench: Bench, restore: rebridge.Restorer, images: Tensor) -> dict[str, Any]:
    """Restore pictures: the median of three times after one, or the second time alone where that is long."""
    restore(images)
    bench.peak_mib()
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < 0.5:
        began = time.perf_counter()
        restore(images)
        seconds.append(time.perf_counter() - began)
    pixels = len(images) * images.shape[-2] * images.shape[-1]
    return {"seconds a Mpixel": round(median(seconds) / pixels * 1e6, 5), "peak MiB": bench.peak_mib()}


def case_rows(bench: Bench, sizes: Sizes, name: str, kinds: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Measure a model in each precision."""
    crop, one, chosen, exact = picture(sizes.crop), picture(sizes.side), "", None
    with bench.attempt(f"{name} on the processor"):
        plain = opened(name, kinds, torch.device("cpu"), "float32")
        exact = None if plain.process.generative else rebridge.Restorer(plain)(crop)
    with bench.attempt(f"{name} auto"):
        chosen = str(opened(name, kinds, bench.device, "auto").precision).removeprefix("torch.")
    for precision in PRECISIONS:
        row: dict[str, Any] = {"model": name, "kinds": list(kinds), "precision": precision, "auto": chosen == precision}
        with bench.attempt(f"{name} {precision}"):
            model = opened(name, kinds, bench.device, precision)
            rows.append(row)
            floor = bench.table["machine"].get(f"{FLOORS[precision]} convolution TFLOP/s", 0.0)
            row["alone"] = network_row(bench, model, sizes.side, 1, floor)
            row["batch"] = network_row(bench, model, sizes.side, sizes.batch, floor)
            if exact is not None:
                restore = rebridge.Restorer(model)
                row["levels from the processor"] = levels(restore(crop), exact)
                with tf32(False):
                    row["levels without TF32"] = levels(restore(crop), exact)
                row["alone"] |= restoring(bench, restore, one)
                row["batch"] |= restoring(bench, restore, one.expand(sizes.batch, -1, -1, -1).contiguous())
                if (name, kinds) == LARGE:
                    height, width = sizes.large
                    row["large"] = restoring(bench, restore, picture(width)[..., :height, :].contiguous())
        print(json.dumps(row), flush=True)


def models(bench: Bench, sizes: Sizes) -> None:
    """Measure the packaged models."""
    rows: list[dict[str, Any]] = []
    bench.table["models"] = {"side": sizes.side, "batch": sizes.batch, "rows": rows}
    for name, kinds in CASES:
        case_rows(bench, sizes, name, kinds, rows)


class Enough(BaseException):
    """Ends a training that was long enough."""


def trained(bench: Bench, batch: int, settings: Iterable[str], seconds: float) -> list[tuple[float, float]]:
    """Train for some seconds; returns the time and the seconds of waiting after each iteration.

    seconds: after those iterations that are not counted; 0 for a single iteration.
    """
    waited: list[Awaited] = []
    original = Awaited.__init__

    def noted(self: Awaited, batches: Any) -> None:
        original(self, batches)
        waited.append(self)

    times: list[tuple[float, float]] = []

    def finished(_: Step) -> None:
        times.append((time.perf_counter(), waited[0].seconds))
        if len(times) > NOT_COUNTED + 1 and times[-1][0] - times[NOT_COUNTED][0] > seconds:
            raise Enough

    with tempfile.TemporaryDirectory() as place, patch.object(Awaited, "__init__", noted):
        iterations = 100_000 if seconds else 1
        changes = [
            *(one for one in RUN if not one.startswith("optimisation.batch")),
            *("device=auto" if bench.on_gpu else "device=cpu", f"optimisation.batch={batch}", *settings),
            *(f"data.clean={PICTURES}", f"output={place}", f"optimisation.iterations={iterations}"),
        ]
        try:
            train(load_config(CONFIG, changes), callbacks=[finished])
        except Enough:
            return times
    return times


def training(bench: Bench, sizes: Sizes) -> None:
    """Measure pictures a second of training, beside the device's peak."""
    rows: list[dict[str, Any]] = []
    with FlopCounterMode(display=False) as counter:
        trained(bench, 8, WAYS[PLAIN], 0.0)
    work = counter.get_total_flops() / 8
    peak = bench.table["machine"].get("bfloat16 matrix TFLOP/s", 0.0)
    bench.table["training"] = {"GFLOP a picture": round(work / 1e9, 2), "bfloat16 matrix TFLOP/s": peak, "rows": rows}
    print(f"training: {work / 1e9:.2f} GFLOP for each picture of a step", flush=True)
    for way, batch, settings in TRAININGS:
        size = batch if bench.on_gpu else 2
        given = settings if any("workers" in one for one in settings) else (*settings, f"data.workers={_workers()}")
        given = given if bench.on_gpu else tuple(one.replace("workers=8", "workers=1") for one in given)
        with bench.attempt(way):
            times = trained(bench, size, given, sizes.training)
            gc.collect()  # the workers end with what holds them
            passed, waiting = (late - early for early, late in zip(times[NOT_COUNTED], times[-1], strict=True))
            speed = size * (len(times) - 1 - NOT_COUNTED) / passed
            row = {"way": way, "batch": size, "pictures a second": round(speed, 1)}
            row["waiting for data"] = round(waiting / passed, 4)
            row["TFLOP/s"] = round(speed * work / 1e12, 4)
            row["TFLOP/s without waiting"] = round(speed * work / 1e12 / max(1 - waiting / passed, 1e-6), 4)
            row["share of the peak"] = round(speed * work / 1e12 / peak, 5) if peak else None
            row["times the plain loop"] = round(speed / (rows or [row])[0]["pictures a second"], 2)
            rows.append(row)
            print(json.dumps(row), flush=True)


def _workers() -> int:
    return max(min(len(os.sched_getaffinity(0)), 16) - 1, 1)


def waits(bench: Bench, walk: Callable[[Callable[..., None]], object]) -> int:
    """Count how often this process waits for the device between the end of the first step and that of the last."""
    seen: list[int] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if bench.on_gpu:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            walk(lambda *_: seen.append(sum("synchronizing" in str(one.message) for one in caught)))
        finally:
            if bench.on_gpu:
                torch.cuda.set_sync_debug_mode("default")
    return seen[-1] - seen[0]


def sampling(bench: Bench, sizes: Sizes) -> None:
    """Measure what samplers take beside the network, and if they wait for the device."""
    rows: list[dict[str, Any]] = []
    bench.table["samplers"] = {"model": "rdbm-texture", "side": sizes.side, "rows": rows}
    network = opened("rdbm-texture", (), bench.device, "float32").network
    count = max(sizes.batch // 4, 1)
    y = 2 * picture(sizes.side).to(bench.device).expand(count, -1, -1, -1).contiguous() - 1
    t = torch.ones(count, device=bench.device)
    with torch.no_grad():
        alone = bench.seconds(lambda: network(y, t, y))

    def waiting(tell: Callable[..., None]) -> None:
        tell()
        y.sum().item()
        tell()

    known = waits(bench, waiting)
    bench.table["samplers"]["a wait that is known of"] = known
    bench.failed |= bench.on_gpu and known == 0  # then nothing is counted at all
    print(f"samplers: the network takes {1e3 * alone:.3f} ms; a wait that is known of counts {known}", flush=True)
    for name in SAMPLERS:
        with bench.attempt(name):
            sampler = samplers.parse(name)
            bridge = fitting(sampler)
            calls = 0

            def denoiser(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
                nonlocal calls
                calls += 1
                found: Tensor = network(x, t, y)
                return found

            def walk(tell: Callable[..., None] | None = None) -> Tensor:
                noise = ImageNoise(range(count))
                return sampler(bridge, denoiser, y, noise=noise, callback=tell)  # noqa: B023

            walk()
            made = calls
            seconds = bench.seconds(walk, 3)
            row = {"sampler": name, "bridge": bridge.name, "network calls": made}
            row["time beside the network"] = round(seconds / (made * alone) - 1, 4)
            row["waits in the loop"] = waits(bench, walk)
            rows.append(row)
            print(json.dumps(row), flush=True)


def main() -> None:
    """Run the parts, the most telling ones first; the exit status is 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try it out")
    parser.add_argument(
        "--part", action="append", choices=LIMITS, help="run this part after the machine; repeat it (default: all)"
    )
    parser.add_argument("--json", type=Path, help="file to write, after each part anew")
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    bench = Bench(torch.device(options.device), 1 if options.quick else 7, TOTAL, options.json)
    parts = {"machine": machine, "models": models, "training": training, "samplers": sampling}
    for name in dict.fromkeys(["machine", *(options.part or parts)]):
        with torch.cuda.device(bench.device) if bench.on_gpu else nullcontext():
            bench.part(name, LIMITS[name], partial(parts[name], bench, sizes))
    sys.exit(bench.failed)


if __name__ == "__main__":
    main()
