"""A benchmark in parts on one device, with times taken there; used by gpu.py."""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from floor import median_seconds


class Late(BaseException):
    """Ends a part whose time is over."""


@dataclass
class Bench:
    """A benchmark in parts on a device, what it found, and if something failed.

    Args:
        device: where it runs.
        repeats: of what is timed.
        total: seconds of all parts together.
        path: of the file that the table is written to.
    """

    device: torch.device
    repeats: int
    total: float
    path: Path | None
    table: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    began: float = field(default_factory=time.perf_counter)

    @property
    def on_gpu(self) -> bool:
        """True on a CUDA device."""
        return self.device.type == "cuda"

    @contextmanager
    def attempt(self, label: str) -> Iterator[None]:
        """Go on after a failure, which is printed."""
        try:
            yield
        except Exception:
            self.failed = True
            print(f"{label} failed:", flush=True)
            traceback.print_exc(file=sys.stdout)

    def part(self, name: str, limit: float, run: Callable[[], None]) -> None:
        """Run a part of the benchmark within its time, in seconds, and write what there is."""

        def late(*_: object) -> None:
            raise Late

        began, before = time.perf_counter(), signal.signal(signal.SIGALRM, late)
        signal.alarm(max(round(min(limit, self.total + self.began - began)), 1))
        try:
            with self.attempt(name):
                run()
        except Late:
            self.failed = True
            print(f"the time of the part '{name}' is over", flush=True)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        print(f"({name}: {time.perf_counter() - began:.1f} s)", flush=True)
        if self.path is not None:
            self.path.write_text(json.dumps(self.table, indent=1) + "\n", encoding="utf-8")

    def seconds(self, call: Callable[[], object], repeats: int | None = None) -> float:
        """Time a call on the device: the median of several, after two that are not counted."""
        repeats = repeats or self.repeats
        if not self.on_gpu:
            return median_seconds(call, repeats)
        for _ in range(2):
            call()
        torch.cuda.synchronize(self.device)
        found = []
        for _ in range(repeats):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            end.synchronize()
            found.append(start.elapsed_time(end) / 1e3)
        return median(found)

    def peak_mib(self) -> int:
        """Most memory of the device, in MiB, that was held since this was asked last; 0 on a processor."""
        if not self.on_gpu:
            return 0
        found = round(torch.cuda.max_memory_allocated(self.device) / 2**20)
        torch.cuda.reset_peak_memory_stats(self.device)
        return found


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Compute convolutions of float32 in TF32, or not."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
