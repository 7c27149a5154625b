"""The choice of a precision for a network on this machine, by a measurement.

`dtype="auto"` asks here. Once for a network and a machine both precisions are timed on small pictures, for a second at most, and
the outcome is remembered in the user's cache folder. bfloat16 is chosen where it is clearly faster and changes no pixel of these
pictures by more than half of 1/255, so that others stay within 1/255; a processor without such instructions is slower in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from rebridge.denoisers import Autocast, Denoiser, NetworkDenoiser, as_estimate
from rebridge.denoisers.machine import describe_machine
from rebridge.images.atomic import write_atomic
from rebridge.networks import Network

CACHE_VARIABLE = "REBRIDGE_CACHE"
"""Environment variable that names the folder of what is remembered; by default below XDG_CACHE_HOME, or ~/.cache."""
CACHE_FORMAT = 1
CLEARLY = 0.9
"""Share of the time of float32 that the other precision may take to be chosen."""
MOST_CHANGE = 0.5 / 255
"""Most that a pixel of the measured pictures may change, as a share of the range."""
PROBE_SIDE = 128
TIMED_ON_GPU = 4
"""Times the side of what is timed on a GPU, which small pictures do not fill."""
MEASURING = 0.4
"""Seconds that are spent on measuring after the first calls."""


@dataclass(frozen=True)
class Precisions:
    """The speed of a network in two precisions.

    Attributes:
        float32: seconds of a call.
        bfloat16: seconds of a call.
        change: largest difference of a pixel between them, as a share of the range.
    """

    float32: float
    bfloat16: float
    change: float

    @property
    def chosen(self) -> torch.dtype:
        """The precision to compute in."""
        better = self.bfloat16 < CLEARLY * self.float32 and self.change <= MOST_CHANGE
        return torch.bfloat16 if better else torch.float32


def chosen_dtype(denoiser: NetworkDenoiser, channels: int) -> torch.dtype:
    """Choose the precision of a network, by what is remembered or measured.

    Args:
        denoiser: the network; on the device where it will run.
        channels: of its images.
    """
    first = next(denoiser.network.parameters(), None)
    if first is None or first.dtype != torch.float32 or first.device.type not in ("cpu", "cuda"):
        return torch.float32
    path = cache_folder() / f"precision-{key_of(denoiser.network, first.device)}.json"
    found = recalled(path)
    if found is None:
        found = measure_precisions(denoiser, channels, first.device)
        remember(path, found)
    return found.chosen


def cache_folder() -> Path:
    """Return the folder of what is remembered; it need not exist."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rebridge"


def recalled(path: Path) -> Precisions | None:
    """Read what was measured earlier; None where there is nothing sound."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] != CACHE_FORMAT:
            return None
        found = Precisions(*(float(kept[key]) for key in ("float32", "bfloat16", "change")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.float32 > 0 and found.bfloat16 > 0 and found.change >= 0 else None


def remember(path: Path, found: Precisions) -> None:
    """Write what was measured, whole or not at all.

    A folder that cannot be written to is no error: it is measured again then.
    """
    text = json.dumps({"format": CACHE_FORMAT, **asdict(found)})
    try:
        write_atomic(path, text.encode(), overwrite=True)
    except OSError:
        return


def measure_precisions(denoiser: NetworkDenoiser, channels: int, device: torch.device) -> Precisions:
    """Time a network in float32 and bfloat16 in turn, and compare their pictures."""
    network = denoiser.network
    if isinstance(network, Network) and network.told:
        network = network.treating(network.examined)
    plain = NetworkDenoiser(network, denoiser.bridge, denoiser.prediction, denoiser.clamp, denoiser.scale).eval()
    low, high = denoiser.bridge.value_range
    pictures = (low + (high - low) * probes(channels)).to(device).contiguous(memory_format=torch.channels_last)
    runs: tuple[Denoiser, Denoiser] = (plain, Autocast(plain, device.type, torch.bfloat16))
    with torch.no_grad():
        exact, rough = (torch.cat([_estimate(run, one[None]) for one in pictures]) for run in runs)
        change = float((exact - rough).abs().max()) / (high - low)
        larger = TIMED_ON_GPU if device.type == "cuda" else 1
        timed = pictures[:1].repeat(1, 1, larger, larger).contiguous(memory_format=torch.channels_last)
        times: tuple[list[float], list[float]] = ([], [])
        began = time.perf_counter()
        while not times[1] or time.perf_counter() - began < MEASURING:
            for run, kept in zip(runs, times, strict=True):
                kept.append(seconds_taken(lambda run=run: _estimate(run, timed), device))  # type: ignore[misc]
    return Precisions(min(times[0]), min(times[1]), change)


def probes(channels: int) -> Tensor:
    """Make pictures (3, channels, PROBE_SIDE, PROBE_SIDE) in [0, 1].

    Shapes and texture under noise, dark, and pale.
    """
    source = torch.Generator().manual_seed(0)
    noise = torch.randn(2, channels, PROBE_SIDE, PROBE_SIDE, generator=source)
    smooth = avg_pool2d(noise[:1], 31, 1, 15, count_include_pad=False) * 8
    shapes = (smooth > 0).float() * 0.4 + 0.3 + 0.1 * smooth
    sharp = (shapes + noise[1:] * 0.1).clamp(0, 1)
    return torch.cat([sharp, sharp**2 * 0.6, 1 - 0.4 * sharp])


def _estimate(denoiser: Denoiser, y: Tensor) -> Tensor:
    return as_estimate(denoiser(y, y.new_ones(len(y)), y)).x0


def seconds_taken(call: Callable[[], object], device: torch.device) -> float:
    """Time a call, to the end of its work on a device.

    On one thread of a processor by the time of that thread, which holds on a busy machine too.
    """
    clock = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began


def key_of(network: nn.Module, device: torch.device) -> str:
    """Name what an outcome holds for.

    That is the machine, its threads, and the network with its weights.
    """
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    digest = hashlib.sha256(f"{describe_machine()} {torch.get_num_threads()} {place}".encode())
    for name, weight in network.state_dict().items():
        some = weight.detach().flatten()[:64].float().cpu()
        digest.update(f"{name} {tuple(weight.shape)}".encode() + some.numpy().tobytes())
    return digest.hexdigest()[:24]
