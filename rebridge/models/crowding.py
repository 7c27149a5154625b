"""The number of pictures that pass a network at once, by a measurement.

Threads of a processor may share one picture, or take one each. Sharing leaves them waiting for each other after every layer; one
each needs more memory, and its speed. Once for a network and a machine both ways are timed, for about a second, and the outcome
is remembered beside that of `rebridge.models.speed`.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from rebridge.denoisers import NetworkDenoiser, as_estimate, machine
from rebridge.images.atomic import write_atomic
from rebridge.models.speed import CACHE_FORMAT, cache_folder, key_of, probes
from rebridge.networks import Network

LANE_ROUNDS = 3
"""Of which the fastest counts."""
CALLS = 2
"""Of each lane in a round."""


def chosen_lanes(denoiser: NetworkDenoiser, channels: int) -> int:
    """Choose how many pictures pass a network at once.

    By what is remembered, or measured.

    Args:
        denoiser: the network.
        channels: of its images.

    Returns:
        1 for a network that is not on the processor, or where there is one core.
    """
    first = next(denoiser.network.parameters(), None)
    cores = machine.threads()
    if cores < 2 or first is None or first.device.type != "cpu":
        return 1
    path = cache_folder() / f"lanes-{key_of(denoiser.network, first.device)}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] == CACHE_FORMAT and 1 <= int(kept["lanes"]) <= cores:
            return int(kept["lanes"])
    try:
        speeds = measure_lanes(denoiser, channels, cores)
    except threading.BrokenBarrierError:  # it fails here; with a picture it says why
        return 1
    lanes = max(speeds, key=lambda count: speeds[count])
    with contextlib.suppress(OSError):  # a folder that cannot be written to: it is measured again
        write_atomic(path, json.dumps({"format": CACHE_FORMAT, "lanes": lanes}).encode(), overwrite=True)
    return lanes


def measure_lanes(denoiser: NetworkDenoiser, channels: int, cores: int) -> Mapping[int, float]:
    """Time a network with one picture at once, two, four, ... and one for each core.

    Returns:
        Pictures a second by their number at once.
    """
    network = denoiser.network
    if isinstance(network, Network) and network.told:
        network = network.treating(network.examined)
    plain = NetworkDenoiser(network, denoiser.bridge, denoiser.prediction, denoiser.clamp, denoiser.scale).eval()
    low, high = denoiser.bridge.value_range
    picture = low + (high - low) * probes(channels)[:1].repeat(1, 1, 2, 2)
    counts = sorted({cores, *(2**power for power in range(cores.bit_length()) if 2**power < cores)})
    before = torch.get_num_threads()
    try:
        return {
            count: CALLS * count / _seconds(lambda: _look(plain, picture), count, cores // count) for count in counts
        }
    finally:
        torch.set_num_threads(before)


def _look(denoiser: NetworkDenoiser, y: Tensor) -> None:
    with torch.no_grad():
        as_estimate(denoiser(y, y.new_ones(len(y)), y))


def _seconds(call: Callable[[], None], count: int, threads: int) -> float:
    """Seconds of a round of calls in so many threads, each with so many of torch's.

    Raises:
        threading.BrokenBarrierError: a call failed.
    """
    gates = threading.Barrier(count + 1)
    found: list[float] = []

    def work() -> None:
        torch.set_num_threads(threads)
        try:
            call()
            for _ in range(LANE_ROUNDS):
                gates.wait()
                for _ in range(CALLS):
                    call()
                gates.wait()
        except Exception:  # nobody is to wait for this thread
            gates.abort()

    lanes = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for lane in lanes:
        lane.start()
    for _ in range(LANE_ROUNDS):
        gates.wait()
        began = time.perf_counter()
        gates.wait()
        found.append(time.perf_counter() - began)
    for lane in lanes:
        lane.join()
    return min(found)
