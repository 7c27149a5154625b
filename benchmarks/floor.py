"""Prints what this machine can do: the speed of dense 3x3 convolutions of 64 channels, in float32 and bfloat16.

    python benchmarks/floor.py

Every other benchmark of speed measures this floor in the same run, and prints its own figures beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rebridge.denoisers import Denoiser, Estimate
from rebridge.denoisers.machine import describe_machine

WIDTH, SIDE = 64, 128
"""Channels and side of the convolution that is measured."""


class Stopwatch:
    """The seconds that a denoiser takes, all calls together: `restorer.wrapped(stopwatch)`.

    Args:
        clock: of the wall, or `time.process_time`.

    Attributes:
        seconds: may be set back to 0.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = 0.0
        self._clock = clock

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Make the denoiser that is timed."""

        def call(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor | Estimate:
            began = self._clock()
            found = denoiser(x_t, t, y)
            self.seconds += self._clock() - began
            return found

        return call


def median_seconds(call: Callable[[], object], repeats: int = 7) -> float:
    """Time a call: the median of several, after one that is not counted.

    On one thread by the time of the processor, so that figures hold on a busy machine too.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    call()
    seconds = []
    for _ in range(repeats):
        began = clock()
        call()
        seconds.append(clock() - began)
    return statistics.median(seconds)


def convolution_speed(dtype: torch.dtype = torch.float32, repeats: int = 15) -> float:
    """Measure dense 3x3 convolutions of 64 channels, channels-last, in FLOP per second."""
    layer = nn.Conv2d(WIDTH, WIDTH, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    features = torch.randn(1, WIDTH, SIDE, SIDE).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return 2 * 9 * WIDTH**2 * SIDE**2 / median_seconds(lambda: layer(features), repeats)


def machine(bfloat16: bool = True) -> dict[str, str | int | float]:
    """Describe the machine, with the speed of its convolutions in GFLOP/s and the threads that they take."""
    found: dict[str, str | int | float] = {**describe_machine(), "threads": torch.get_num_threads()}
    found["float32 GFLOP/s"] = round(convolution_speed() / 1e9, 1)
    if bfloat16:
        found["bfloat16 GFLOP/s"] = round(convolution_speed(torch.bfloat16) / 1e9, 1)
    return found


def sentence(found: dict[str, str | int | float]) -> str:
    """Write a machine in one line."""
    return ", ".join(f"{key} {value}" for key, value in found.items())


def main() -> None:
    """Print the machine and its floor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="threads (default: torch's own choice)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(sentence(machine()))


if __name__ == "__main__":
    main()
