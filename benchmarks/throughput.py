"""Prints how fast a folder of pictures is restored, and how busy the network is meanwhile.

    python benchmarks/throughput.py --json docs/tables/throughput.json

The folder holds pictures of mixed sizes, JPEG and PNG. It is restored by one process: one picture at a time on all threads, as
many as there are cores at a time with one thread each, and as is chosen by itself; and by as many processes as there are cores,
each with its own part and one thread. Busy is the share of their time that the lanes hold a picture, from the first file read to
the last one written. Seconds of the processor hold on a busy machine too. The floor is the network alone: the same pictures,
decoded before, one after the other on one thread, over the cores.
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
from typing import Any

import torch
from floor import Stopwatch, machine, sentence
from torch.nn.functional import interpolate

import rebridge
from rebridge.commands.opening import open_restorer
from rebridge.commands.options import RestoreOptions
from rebridge.commands.restore import restore
from rebridge.denoisers.machine import physical_cores
from rebridge.images import Image, read_image, write_image
from rebridge.models.crowding import chosen_lanes

PHOTO = Path(__file__).parent.parent / "examples" / "images" / "chelsea.jpg"
SIZES = ((128, 128), (256, 256), (192, 320), (321, 481), (240, 240))
"""Heights and widths of the pictures, again and again."""


def folder(place: Path, count: int) -> None:
    """Write pictures with noise, every third as JPEG."""
    photo, generator = read_image(PHOTO).pixels[None], torch.Generator().manual_seed(0)
    for number in range(count):
        clean = interpolate(photo, SIZES[number % len(SIZES)], mode="bicubic", antialias=True)[0]
        noisy = clean + 0.06 * torch.randn(clean.shape, generator=generator)
        write_image(place / f"{number:04}.{'png' if number % 3 else 'jpg'}", Image(noisy.clamp(0, 1)))


def options(source: Path, output: Path, model: str, jobs: int | None) -> RestoreOptions:
    """Make the options of a run."""
    return RestoreOptions(inputs=[source], output=output, model=model, jobs=jobs, device="cpu", overwrite=True)


def batch(source: Path, output: Path, model: str, jobs: int | None) -> dict[str, Any]:
    """Restore a folder in this process: the record of the run."""
    wanted = options(source, output, model, jobs)
    opened = open_restorer(wanted, None)
    restore(options(sorted(source.iterdir())[0], output, model, None), opened=opened)
    chosen_lanes(opened.restorer.model.denoiser, 3)  # type: ignore[attr-defined]  # measured once on a machine
    began, spent = time.perf_counter(), time.process_time()
    found = restore(wanted, opened=opened)
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    assert not found.failures, found.failures
    known = {key: found.done[key] for key in ("jobs", "busy")}
    return {"pictures": len(found.results), "seconds": seconds, "processor seconds": spent, **known}


def alone(source: Path, model: str) -> float:
    """Time the network alone, on one thread: seconds for all pictures."""
    torch.set_num_threads(1)
    restorer = rebridge.Restorer.from_pretrained(model, "cpu")
    pictures = [read_image(path).pixels[None] for path in sorted(source.iterdir())]
    stopwatch = Stopwatch(time.process_time)
    watched = restorer.wrapped(stopwatch)
    watched(pictures[0])
    stopwatch.seconds = 0.0
    for picture in pictures:
        watched(picture)
    return stopwatch.seconds


def processes(source: Path, output: Path, model: str, count: int) -> dict[str, Any]:
    """Restore a folder by several processes with one thread each: the record of the run."""
    words = [sys.executable, __file__, "--model", model, "--part"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    parts = [output / f"part{number}" for number in range(count)]
    for number, path in enumerate(sorted(source.iterdir())):
        part = parts[number % count]
        part.mkdir(parents=True, exist_ok=True)
        (part / path.name).hardlink_to(path)
    running = [
        subprocess.Popen([*words, str(part)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for part in parts
    ]
    for one in running:
        assert one.stdout is not None
        one.stdout.readline()
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    ended = [tuple(map(float, one.communicate()[0].split())) for one in running]
    return {"seconds": max(clock for clock, _ in ended), "processor seconds": sum(spent for _, spent in ended)}


def part(source: Path, model: str) -> None:
    """Restore one part when told to, and print the seconds."""
    opened = open_restorer(options(source, source / "out", model, None), None)
    first = sorted(source.iterdir())[0]
    restore(options(first, source / "out", model, None), opened=opened)
    print("ready", flush=True)
    sys.stdin.readline()
    began, spent = time.perf_counter(), time.process_time()
    restore(options(source, source / "out", model, None), opened=opened)
    print(time.perf_counter() - began, time.process_time() - spent)


def main() -> None:
    """Time the ways, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="rdbm-tiny")
    parser.add_argument("--count", type=int, default=200, help="pictures (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", type=Path, help="restore this folder when told to on standard input")
    given = parser.parse_args()
    if given.part is not None:
        part(given.part, given.model)
        return
    cores, records = physical_cores(), {}
    floor = machine(bfloat16=False)
    with tempfile.TemporaryDirectory() as place:
        source, output = Path(place) / "in", Path(place) / "out"
        source.mkdir()
        folder(source, given.count)
        for name, jobs in (
            (f"one process, one picture on {cores} threads", 1),
            (f"one process, {cores} pictures on one thread each", cores),
            ("one process, as chosen", None),
        ):
            records[name] = batch(source, output, given.model, jobs)
            print(f"{name}: {records[name]['seconds']:.2f} s", flush=True)
        records[f"{cores} processes, one thread each"] = processes(source, output, given.model, cores)
        least = alone(source, given.model) / cores
    print(f"{sentence(floor)}\n{given.model}, {given.count} pictures; the network alone: {least:.2f} s")
    for name, record in records.items():
        record |= {"pictures a second": round(given.count / record["seconds"], 2)}
        record["network alone / time"] = round(least / record["seconds"], 3)
        busy = f"{record['busy']:.1%}" if "busy" in record else "-"
        print(f"{name}: {record['seconds']:.2f} s ({record['processor seconds']:.2f} s of the processor), "
              f"{record['pictures a second']} a second, network busy {busy}, "
              f"the network alone takes {least / record['seconds']:.0%} of that")  # fmt: skip
    if given.json is not None:
        rows = [{"way": name, **record} for name, record in records.items()]
        table = {"machine": floor, "model": given.model, "pictures": given.count, "network alone": least, "rows": rows}
        given.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
