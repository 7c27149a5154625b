"""Prints what large pictures cost: memory beyond that of torch, and seconds per pixel beside those of 512 x 512.

    python benchmarks/large.py --size 512x512 --size 3840x2160 --size 8192x8192 --json docs/tables/large.json
    python benchmarks/large.py --tiff 16384x16384

Each size is restored by the command line's own function in a process of its own, from file to file; the floor is a process that
imports torch and nothing else. Seconds are those of the processor, so that they hold on a busy machine too. With --tiff the
picture is a tiled BigTIFF, which is restored in parts where it is larger than 67 million pixels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tifffile

from rebridge.denoisers.machine import describe_machine
from rebridge.images import read_image, to_samples

PHOTO = Path(__file__).parent.parent / "examples" / "images" / "chelsea.jpg"
NOISE = 12.0
PEAK = """
import resource, time
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time() - began)
"""
FLOOR = f"import time\nbegan = time.process_time()\nimport torch\n{PEAK}"
RESTORE = f"""
import sys, time
from pathlib import Path
from rebridge.commands.opening import open_restorer
from rebridge.commands.options import RestoreOptions
from rebridge.commands.restore import restore
source, output, model = sys.argv[1:]
options = RestoreOptions(inputs=[source], output=Path(output), model=model, overwrite=True, max_pixels=2**30)
opened = open_restorer(options)
began = time.process_time()
result = restore(options, opened=opened)
assert not result.failures, result.failures
{PEAK}
"""


def bands(width: int, height: int) -> Iterator[np.ndarray]:
    """Yield a noisy picture in bands of 256 rows: a photograph again and again."""
    photo = to_samples(read_image(PHOTO).pixels, 8)
    generator = np.random.default_rng(0)
    for top in range(0, height, 256):
        places = np.ix_(np.arange(top, min(top + 256, height)) % len(photo), np.arange(width) % photo.shape[1])
        noise = generator.normal(0, NOISE, (len(places[0]), width, 3)).astype(np.float32)
        yield np.clip(photo[places] + noise, 0, 255).round().astype(np.uint8)


def written(folder: Path, width: int, height: int, is_tiff: bool) -> Path:
    """Write the picture into a file."""
    from rebridge.images.tiff_parts import Described, write_in_rows

    if is_tiff:
        write_in_rows(folder / "in.tif", bands(width, height), (height, width, 3), 8, Described(), True)
        return folder / "in.tif"
    import cv2

    cv2.imwrite(str(folder / "in.png"), np.concatenate(list(bands(width, height)))[..., ::-1])
    return folder / "in.png"


def ran(code: str, *words: str) -> tuple[float, float]:
    """Run a program: the most memory that it held, in MiB, and its seconds."""
    answer = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    memory, seconds = answer.stdout.split()
    return float(memory), float(seconds)


def measure(model: str, size: str, is_tiff: bool, floor: float, runs: int) -> dict[str, Any]:
    """Restore one picture; returns its record."""
    width, height = map(int, size.split("x"))
    with tempfile.TemporaryDirectory() as place:
        source = written(Path(place), width, height, is_tiff)
        found = [ran(RESTORE, str(source), str(source.with_stem("out")), model) for _ in range(runs)]
        if is_tiff:
            with tifffile.TiffFile(source.with_stem("out")) as tiff:
                assert tiff.pages[0].shape[:2] == (height, width)
    memory = max(one[0] for one in found)
    seconds = median(one[1] for one in found)
    return {
        "size": size,
        "file": source.suffix[1:],
        "memory_mib": round(memory),
        "beyond_torch_mib": round(memory - floor),
        "seconds": round(seconds, 2),
        "seconds_per_mpx": round(seconds / (width * height / 1e6), 3),
    }


def main() -> None:
    """Measure the sizes, and print one line for each."""
    parser = argparse.ArgumentParser(description="Memory and speed of large pictures.")
    parser.add_argument("--model", default="rdbm-tiny")
    parser.add_argument("--size", action="append", help="WIDTHxHEIGHT of a PNG")
    parser.add_argument("--tiff", action="append", help="WIDTHxHEIGHT of a TIFF")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sizes = [(size, False) for size in given.size or ([] if given.tiff else ["512x512", "3840x2160"])]
    floor, _ = ran(FLOOR)
    print(f"{given.model}; import torch takes {floor:.0f} MiB")
    records: list[dict[str, Any]] = []
    for size, is_tiff in [*sizes, *((size, True) for size in given.tiff or [])]:
        record = measure(given.model, size, is_tiff, floor, given.runs)
        record["ratio"] = round(record["seconds_per_mpx"] / (records or [record])[0]["seconds_per_mpx"], 2)
        records.append(record)
        print(
            f"{size:>12} {record['file']}: {record['beyond_torch_mib']} MiB beyond torch, {record['seconds']:.1f} s, "
            f"{record['seconds_per_mpx']:.3f} s a megapixel, {record['ratio']:.2f} x {records[0]['size']}"
        )
    if given.json is not None:
        table = {"model": given.model, "machine": describe_machine(), "torch_mib": round(floor), "records": records}
        given.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
