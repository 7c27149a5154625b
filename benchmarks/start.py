"""Prints how long short commands take from start to end, beside `import torch` in the same run.

    python benchmarks/start.py --runs 5 --json docs/tables/start.json

The commands run in turn, so that a busy machine slows them all alike; medians are printed, in seconds of the clock and of the
processor. The picture has 256 x 256 pixels. Bytecode is kept between the runs, as it is of an installed package; the first run,
which makes it, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from rebridge.denoisers.machine import describe_machine
from rebridge.images import Image, read_image, write_image

PHOTO = Path(__file__).parent.parent / "examples" / "images" / "chelsea.jpg"
SIDE = 256


def timed(words: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a program; returns seconds of the clock and of the processor."""
    began = time.perf_counter()
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, *words], env=environment, **quiet) as program:
        _, status, usage = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
    if program.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {program.returncode}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Time the commands in turn, and print their medians."""
    parser = argparse.ArgumentParser(description="Time of short commands.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", action="append")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        source, result = Path(place) / "in.png", Path(place) / "out.png"
        write_image(source, Image(read_image(PHOTO).pixels[:, :SIDE, :SIDE]))
        program = ["-m", "rebridge.cli"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(place) / "bytecode")
        commands = {"import torch": ["-c", "import torch"], "rebridge --help": [*program, "--help"]}
        for model in given.model or ["rdbm-tiny", "rdbm-small"]:
            words = ["restore", str(source), "-o", str(result), "--overwrite", "--model", model]
            commands[f"rebridge restore, {model}"] = [*program, *words]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for run in range(given.runs + 1):
            for name, words in commands.items():
                taken = timed(words, environment)
                if run:  # the first one reads everything from the disk
                    found[name].append(taken)
    records: dict[str, Any] = {}
    floor = [median(column) for column in zip(*found["import torch"], strict=True)]
    for name, runs in found.items():
        clock, processor = (median(column) for column in zip(*runs, strict=True))
        records[name] = {"seconds": round(clock, 3), "cpu_seconds": round(processor, 3)}
        records[name] |= {"ratio": round(clock / floor[0], 2), "cpu_ratio": round(processor / floor[1], 2)}
        print(f"{name}: {clock:.2f} s ({clock / floor[0]:.2f} x import torch), {processor:.2f} s of the processor "
              f"({processor / floor[1]:.2f} x)")  # fmt: skip
    if given.json is not None:
        table = {"machine": describe_machine(), "side": SIDE, "runs": given.runs, "commands": records}
        given.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
