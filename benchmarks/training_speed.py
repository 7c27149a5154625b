"""Prints how many pictures a second are trained on, beside the plain loop: float32, data prepared between the steps.

    python benchmarks/training_speed.py --json docs/tables/training-speed.json

The network and the degradations are those of configs/rdbm-fast.yaml. Each way trains for some iterations in a process of its own,
one after the other, and all of them again, as others may use the machine too: medians are printed, and of the ratios to the plain
loop of the same round. The first iterations, which allocate and compile, do not count. The plain loop has torch's own AdamW and
memory as the system gives it. The last way has a process of one thread for each core, which average their gradients, in the
precision that the machine has instructions for: compare it with a plain loop on all threads. On one thread seconds are those of
the processor in the training process, so that they hold on a busy machine too; else those of the clock. Beside the pictures a
second stands the share of the time that the loop waited for data, and the floor of the machine, dense convolutions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from floor import machine, sentence

from rebridge.denoisers.machine import instructions, physical_cores
from rebridge.training import Step, load_config, train
from rebridge.training.config import OptimisationConfig
from rebridge.training.data import Awaited

CONFIG = Path(__file__).parent.parent / "configs" / "tiny.yaml"
PICTURES = Path(__file__).parent.parent / "examples" / "images"
BATCH = 8
NOT_COUNTED = 3
RUN = (
    "network={name: fast, kinds: 7, blocks: [2, 3, 3], middle: 4, equalise: true}", "states={end_fraction: 1.0}",
    "data.patch=128", "data.holdout=0", f"optimisation.batch={BATCH}", "loss={kind: psnr, weight: 0.1}",
    "data.tasks={rain: 1, haze: 0.75, snow: 1, lowlight: 0.75, blur: 2, noise: {weight: 1, sigma: [0.02, 0.2]}, clean: 0.5}",
    "prediction=blend", "log_every=100000", "validate_every=100000", "checkpoint_every=100000", "trackers=[]", "threads=null",
)  # fmt: skip
FITTING = "bf16" if {"bf16", "AMX"}.intersection(instructions()) else "fp32"
PLAIN, COMPILED, SEVERAL = "plain", "bf16, compiled", f"{FITTING}, a process for each core"
WAYS: dict[str, tuple[str, ...]] = {
    PLAIN: ("precision=fp32", "channels_last=false", "data.workers=0"),
    "channels-last": ("precision=fp32", "channels_last=true", "data.workers=0"),
    "bf16": ("precision=bf16", "channels_last=true", "data.workers=0"),
    COMPILED: ("precision=bf16", "channels_last=true", "data.workers=0", "compile=true"),
    "bf16, data by a worker": ("precision=bf16", "channels_last=true", "data.workers=1"),
    SEVERAL: (f"precision={FITTING}", "channels_last=true", "data.workers=0"),
}
SYSTEM = {"MALLOC_PERTURB_": "0"}
"""The environment in which memory is left to the system: a setting of it, at its default."""


def torchs_adamw(config: OptimisationConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Make torch's AdamW as it comes."""
    return torch.optim.AdamW(parameters, lr=config.lr, betas=config.betas)


def measure(way: str, iterations: int) -> dict[str, float]:
    """Train one way in this process, or in this one and others; returns pictures a second and the share of waiting."""
    waited: list[Awaited] = []
    original = Awaited.__init__

    def noted(self: Awaited, batches: Any) -> None:
        original(self, batches)
        waited.append(self)

    Awaited.__init__ = noted  # type: ignore[method-assign]
    times: list[tuple[float, float, float]] = []
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    clock = time.process_time if torch.get_num_threads() == processes == 1 else time.perf_counter

    def finished(step: Step) -> None:
        times.append((clock(), time.perf_counter(), waited[0].seconds))

    with tempfile.TemporaryDirectory() as place:
        changes = [
            *RUN,
            *WAYS[way],
            f"data.clean={PICTURES}",
            f"output={place}",
            f"optimisation.iterations={iterations}",
        ]
        if way == PLAIN:
            OptimisationConfig.optimizer_of = torchs_adamw  # type: ignore
        train(load_config(CONFIG, changes), callbacks=[finished])
    spent, passed, waiting = (late - early for early, late in zip(times[NOT_COUNTED - 1], times[-1], strict=True))
    pictures = processes * BATCH * (iterations - NOT_COUNTED)
    return {"pictures a second": pictures / spent, "waiting for data": waiting / passed}


def in_process(way: str, iterations: int) -> dict[str, float]:
    """Train one way in a process of its own, or in one for each core."""
    words = [sys.executable, __file__, "--way", way, "--iterations", str(iterations)]
    environment = {**os.environ, **(SYSTEM if way == PLAIN else {})}
    if way == SEVERAL:
        words[1:1] = ["-m", "torch.distributed.run", "--nproc_per_node", str(physical_cores())]
        environment["OMP_NUM_THREADS"] = "1"
    ended = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3, help="of all ways (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", choices=WAYS, help="measure this one alone, and print JSON")
    parser.add_argument("--compiled", action="store_true", help=f"also {COMPILED}, which compiles for minutes first")
    given = parser.parse_args()
    if given.way is not None:
        found = measure(given.way, given.iterations)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(found))
        return
    floor = machine()
    print(sentence(floor))
    ways = [way for way in WAYS if way != COMPILED or given.compiled]
    rounds = [{way: in_process(way, given.iterations) for way in ways} for _ in range(given.rounds)]
    rows: list[dict[str, Any]] = []
    for way in ways:
        row: dict[str, Any] = {"way": way} | {
            key: median(found[way][key] for found in rounds) for key in rounds[0][way]
        }
        ratios = (found[way]["pictures a second"] / found[PLAIN]["pictures a second"] for found in rounds)
        row["times the plain loop"] = median(ratios)
        rows.append(row)
        print(f"{way}: {row['pictures a second']:.2f} pictures a second, {row['times the plain loop']:.2f} times the plain loop, "
              f"{row['waiting for data']:.0%} of the time waiting for data")  # fmt: skip
    if given.json is not None:
        given.json.write_text(json.dumps({"machine": floor, "batch": BATCH, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
