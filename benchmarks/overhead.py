"""Prints what sampling costs beside the network, for every sampler: time, host waits in the loop, and states in memory.

    python benchmarks/overhead.py

The network convolves for a known time, by default 50 ms, so that the processor's cache and clock are as beside a real one; memory
is kept as where a model was loaded. Time outside it is measured inside one run: the whole walk less the time spent in network
calls, medians. Waits are counted as calls of Tensor.item, tolist, bool or a copy to the CPU between the end of the first step and
that of the last; states are tensors of the size of the image that live while the network runs, the degraded image not counted.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from floor import SIDE, WIDTH, machine, sentence
from torch import Tensor, nn

from rebridge import bridges, samplers
from rebridge.denoisers.machine import prepare

VARIANTS = ("dbim:steps=10,order=3", "dbim:steps=10,eta=1", "ode:steps=10,method=heun")
"""Looked at beside all samplers of the catalogue in their default settings."""
LIMIT = 0.03
"""Largest share of the network's time that a sampler may take for itself."""
MOST_STATES = 4
BRIDGES = ("goub", "rdbm", "vp")
"""Tried in this order, before all others, for a bridge that a sampler can follow."""


def clock() -> float:
    """Read the time of the processor on one thread, so that figures hold on a busy machine, else that of the wall."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Known:
    """A denoiser that convolves for a known time, and notes how many states live while it runs.

    seconds: of a call, at least. count: whether to look for states, which takes time.
    """

    def __init__(self, y: Tensor, seconds: float, count: bool = False) -> None:
        self.y = y
        self.seconds = seconds
        self.count = count
        self.inside = 0.0
        self.calls = 0
        self.states = 0
        self.layer = nn.Conv2d(WIDTH, WIDTH, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.features = torch.randn(1, WIDTH, SIDE, SIDE).contiguous(memory_format=torch.channels_last)

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        began = clock()
        if self.count:
            self.states = max(self.states, living(self.y))
        out = 0.5 * x + 0.5 * y
        while clock() - began < self.seconds:
            self.layer(self.features)
        self.inside += clock() - began
        self.calls += 1
        return out


def living(y: Tensor) -> int:
    """Count tensors of the shape of y that are alive, y itself and views not counted."""
    gc.collect()
    known = [one for one in gc.get_objects() if type(one) is Tensor and one.shape == y.shape]
    return len({one.untyped_storage().data_ptr() for one in known} - {y.untyped_storage().data_ptr()})


def fitting(sampler: samplers.Sampler) -> bridges.Bridge:
    """Find a bridge that a sampler can follow."""
    made = (bridges.create(name) for name in (*BRIDGES, *bridges.names()))
    return next(bridge for bridge in made if sampler.fits(bridge))


def waits(sampler: samplers.Sampler, bridge: bridges.Bridge, y: Tensor) -> int:
    """Host waits inside the loop: reads of a value between the end of the first step and that of the last."""
    counts: list[int] = []
    seen = 0
    originals = {name: getattr(Tensor, name) for name in ("item", "tolist", "__bool__", "cpu", "__float__", "__int__")}

    def counting(name: str) -> Callable[..., object]:
        def call(self: Tensor, *args: object, **kwargs: object) -> object:
            nonlocal seen
            seen += 1
            return originals[name](self, *args, **kwargs)

        return call

    def denoiser(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return 0.5 * x + 0.5 * y

    try:
        for name in originals:
            setattr(Tensor, name, counting(name))
        sampler(bridge, denoiser, y, callback=lambda *_: counts.append(seen))
    finally:
        for name, original in originals.items():
            setattr(Tensor, name, original)
    return counts[-1] - counts[0]


def measure(name: str, side: int, seconds: float, runs: int) -> tuple[list[str], bool]:
    """Walk with one sampler: a line of the table, and whether it keeps the limits."""
    sampler = samplers.parse(name)
    bridge = fitting(sampler)
    y = torch.rand(1, 3, side, side) * 2 - 1  # as the states and estimates of real walks lie in memory
    own, calls = [], 0
    for _ in range(runs + 1):
        network = Known(y, seconds)
        began = clock()
        sampler(bridge, network, y)
        own.append((clock() - began) / network.inside - 1)
        calls = network.calls
    counted = Known(y, 0.0, count=True)
    gc.freeze()  # what was there before is not looked through
    sampler(bridge, counted, y)
    gc.unfreeze()
    share, waited = statistics.median(own[1:]), waits(sampler, bridge, y)
    line = [name, bridge.name, str(calls), f"{share:.1%}", str(waited), str(counted.states)]
    return line, share < LIMIT and waited == 0 and counted.states <= MOST_STATES


def main() -> None:
    """Print a line for each sampler; the exit status is 1 where one is beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--milliseconds", type=float, default=50, help="of a call of the network (default: %(default)s)"
    )
    options = parser.parse_args()
    prepare()
    floor = machine(bfloat16=False)
    print(sentence(floor))
    head = ["sampler", "bridge", "network calls", "time outside / in the network", "waits in the loop", "states"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    kept, rows = True, []
    for name in [*(f"{one}:steps=10" for one in samplers.names()), *VARIANTS]:
        line, within = measure(name, options.size, options.milliseconds / 1e3, options.runs)
        kept = kept and within
        rows.append(dict(zip(head, line, strict=True)))
        print(f"| {' | '.join(line)} |{'' if within else '  <- beyond the limit'}", flush=True)
    print(f"limits: {LIMIT:.0%}, no waits, {MOST_STATES} states: {'kept' if kept else 'not kept'}")
    if options.json is not None:
        table = {"machine": floor, "milliseconds": options.milliseconds, "rows": rows}
        options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    sys.exit(not kept)


if __name__ == "__main__":
    main()
