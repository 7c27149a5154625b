"""The machine's description holds against what the system says of itself."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rebridge.denoisers import machine

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads files that only Linux has")


def fake_cpus(root: Path, places: list[tuple[int, int]]) -> None:
    for number, (package, core) in enumerate(places):
        topology = root / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{package}\n")
        (topology / "core_id").write_text(f"{core}\n")


@linux
def test_hyperthreads_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cpus(tmp_path, [(0, 0), (0, 1), (1, 0), (0, 0), (0, 1), (1, 0)])
    monkeypatch.setattr(machine, "_CPUS", tmp_path)
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert machine.physical_cores() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 4})
    assert machine.physical_cores() == 1


@linux
@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 4), ("250000 100000", 3), ("10000 100000", 1)])
def test_a_containers_quota_holds(quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cpus(tmp_path, [(0, core) for core in range(4)])
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(machine, "_CPUS", tmp_path)
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert machine.physical_cores() == cores


def test_threads_that_the_environment_names_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert machine.threads() == torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert machine.threads() == machine.physical_cores() <= (os.cpu_count() or 1)


@linux
def test_the_processor_has_a_name_and_known_instructions() -> None:
    text = Path("/proc/cpuinfo").read_text()
    assert machine.processor()
    assert ("AVX2" in machine.instructions()) == ("avx2" in text.split())


@linux
def test_memory_that_is_freed_is_kept() -> None:
    program = (
        "import resource, sys, torch; from rebridge.denoisers.machine import prepare\n"
        "if sys.argv[1] == 'kept': prepare()\n"
        "for _ in range(3): [torch.ones(2**21) for _ in range(4)]\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): [torch.ones(2**21) for _ in range(4)]\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    faults = {
        how: int(subprocess.run([sys.executable, "-c", program, how], env=clean, capture_output=True, text=True).stdout)
        for how in ("kept", "plain")
    }
    if faults["plain"] < 1000:
        pytest.skip("this system's allocator keeps memory by itself")
    assert faults["kept"] < faults["plain"] / 20


LEFT = """
import json, threading, torch
from rebridge.denoisers import machine

numbers = {"all": machine.threads()}
machine.leave_to_one_thread()

def compute(name, first=lambda: None):
    first()
    torch.rand(64, 64) @ torch.rand(64, 64)
    numbers[name] = torch.get_num_threads()

def run(*words):
    thread = threading.Thread(target=compute, args=words)
    thread.start()
    thread.join()

run("before")
run("one", machine.take_over)
run("after")
compute("main")
print(json.dumps(numbers))
"""


def test_of_many_threads_one_alone_computes_on_several_cores() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    told = subprocess.run([sys.executable, "-c", LEFT], env=environment, capture_output=True, text=True, check=True)
    numbers = json.loads(told.stdout)
    assert numbers == {"all": numbers["one"], "before": 1, "one": numbers["all"], "after": 1, "main": 1}


def test_commands_ask_for_huge_pages_unless_the_user_says_otherwise() -> None:
    code = "import os, sys, rebridge.commands; print(os.environ['THP_MEM_ALLOC_ENABLE'], 'torch' in sys.modules)"
    for given, expected in (({}, "1"), ({"THP_MEM_ALLOC_ENABLE": "0"}, "0")):
        environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"} | given
        answer = subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
        )
        assert answer.stdout.split() == [expected, "False"]


@linux
@pytest.mark.parametrize(("pages", "kept"), [("1", machine.KEPT_BESIDE_HUGE_PAGES), ("0", machine.KEPT_PIECE)])
def test_less_memory_is_kept_beside_huge_pages(monkeypatch: pytest.MonkeyPatch, pages: str, kept: int) -> None:
    told: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda *words: told.append(words))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(machine.HUGE_PAGES, pages)
    machine.prepare.__wrapped__()
    assert told[0] == (-3, kept)
