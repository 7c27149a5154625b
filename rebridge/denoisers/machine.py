"""The machine that networks run on: processor, cores, instructions."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from threading import Thread

import torch

_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_INFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "amx_bf16", "bf16"),
    "AMX": ("amx_tile",),
}
"""Names, and the flags of the processor any of which stands for them."""
KEPT_PIECE, KEPT_BESIDE_HUGE_PAGES = 2**25, 2**24
"""Bytes of the largest piece of memory that is kept when it is freed; glibc allows no more.

Larger ones leave holes that nothing fills: where they come in huge pages, which are cleared sooner, fewer are kept.
"""
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""By this torch asks Linux for huge pages; `rebridge.commands` sets it."""
KEPT_MEMORY = 2**28
"""Most bytes that are kept at the end of the heap."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@cache
def processor() -> str:
    """Return the name of the processor, as its maker calls it."""
    if sys.platform == "darwin":
        return _told("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return _field("model name") or platform.processor() or platform.machine()


@cache
def instructions() -> tuple[str, ...]:
    """Return the names of the processor's instructions for vectors and matrices."""
    flags = set((_field("flags") or _field("Features") or "").split())
    return tuple(name for name, any_of in _INSTRUCTIONS.items() if flags.intersection(any_of))


def physical_cores() -> int:
    """Count the cores that this process may use.

    Hyperthreads count once, and a container's quota holds.
    """
    allowed = os.sched_getaffinity(0) if sys.platform == "linux" else set(range(os.cpu_count() or 1))
    if sys.platform == "darwin":
        return int(_told("sysctl", "-n", "hw.physicalcpu") or len(allowed))
    cores = {_core(cpu) for cpu in allowed}
    return max(min(len(cores), _quota()), 1)


def threads() -> int:
    """Choose the number of threads: one a core, or what the environment says."""
    given = next((os.environ[name] for name in _THREADS if os.environ.get(name, "").isdigit()), None)
    return torch.get_num_threads() if given is not None else physical_cores()


@cache
def prepare() -> None:
    """Make the process ready for networks on the processor; once.

    One thread for each core where torch would take more. And memory that is freed is kept for what comes next: networks free and
    take the same sizes all the time, and pages that the system has to clear anew cost as much as a convolution.
    """
    if torch.get_num_threads() > physical_cores() and threads() < torch.get_num_threads():
        torch.set_num_threads(threads())
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):  # of glibc
            has_huge_pages = os.environ.get(HUGE_PAGES) == "1"
            library.mallopt(_M_MMAP_THRESHOLD, KEPT_BESIDE_HUGE_PAGES if has_huge_pages else KEPT_PIECE)
            library.mallopt(_M_TRIM_THRESHOLD, KEPT_MEMORY)


class _Left:
    """Threads that were left to one thread of this process; 0 where they were not."""

    count = 0


def leave_to_one_thread() -> None:
    """Let one thread have the cores: the one that calls `take_over`.

    This one, and all others to come, compute in themselves alone.
    OpenMP's threads sleep at the end of every step where those of all callers together are more than the cores, which makes small
    pictures twice as slow. So a process with many threads lets one of them have the cores; to be called before anything computes.
    """
    _Left.count = threads()
    torch.set_num_threads(1)


def take_over() -> None:
    """Take the threads that `leave_to_one_thread` left, if it was called."""
    if _Left.count:
        torch.set_num_threads(_Left.count)
        torch.get_num_threads()  # from here on this thread's number is its own, and no longer that of threads to come
        others = Thread(target=torch.set_num_threads, args=(1,))
        others.start()
        others.join()


def describe_machine() -> dict[str, str | int]:
    """Describe the machine for a table of measurements."""
    return {
        "processor": processor(),
        "cores": physical_cores(),
        "instructions": ", ".join(instructions()),
        "torch": torch.__version__.partition("+")[0],
    }


def _core(cpu: int) -> tuple[str, str]:
    """Package and number of the core that a logical processor belongs to."""
    try:
        place = _CPUS / f"cpu{cpu}" / "topology"
        return (place / "physical_package_id").read_text().strip(), (place / "core_id").read_text().strip()
    except OSError:
        return "", str(cpu)


def _quota() -> int:
    """Most processors that a container may use, rounded up."""
    try:
        quota, period = _QUOTA.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):  # no container, or "max"
        return os.cpu_count() or 1


def _field(name: str) -> str | None:
    """The first value of a field of /proc/cpuinfo."""
    try:
        lines = _INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), None)


def _told(*words: str) -> str | None:
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
