"""Prints what the ways of computing cost in pixels and dB: bfloat16, tiles, batches, threads, beside plain float32.

    python benchmarks/modes.py --data $REBRIDGE_DATA/eval/cbsd68 --limit 68 --json docs/tables/modes.json

Each picture gets white noise of 25 levels and is restored in every way. Printed are the largest difference of a pixel from the
plain way, one picture in float32 on one thread, in levels of 255, and the PSNR that is lost. The tiles are small ones of 320
pixels, which no picture gets by itself. Ways that are chosen by themselves must stay within one level; `auto` is float32 or
bfloat16, as `--dtype auto` finds best on this machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from floor import machine, sentence
from torch import Tensor

import rebridge
from rebridge import degradations
from rebridge.denoisers.machine import physical_cores
from rebridge.evaluation.metrics import psnr
from rebridge.images import read_image
from rebridge.models import load_model

PICTURES = Path(__file__).parent.parent / "examples" / "images"
MODELS = ("rdbm-tiny", "rdbm-small")
MOST = 1.0
"""Levels that a way which is chosen by itself may change."""
BY_ITSELF = ("auto", "two at once", "threads")


def told(name: str, dtype: str) -> Any:
    """Open a model; one that decides by itself is told the task, so that it works."""
    model: Any = load_model(name, "cpu", dtype=dtype)
    try:
        return model.treating(["noise"])
    except ValueError:
        return model


def restored(name: str, pictures: list[Tensor]) -> dict[str, list[Tensor]]:
    """Restore pictures (1, C, H, W) in every way."""
    torch.set_num_threads(1)
    plain, half, auto = (rebridge.Restorer(told(name, dtype)) for dtype in ("float32", "bfloat16", "auto"))
    found = {"plain": [plain(one) for one in pictures], "bfloat16": [half(one) for one in pictures]}
    found["auto"] = [auto(one) for one in pictures]
    found["tiles"] = [plain(one, tile=320) for one in pictures]
    found["two at once"] = [plain(torch.cat([one, one.flip(3)]))[:1] for one in pictures]
    torch.set_num_threads(physical_cores())
    found["threads"] = [plain(one) for one in pictures]
    torch.set_num_threads(1)
    return found


def main() -> None:
    """Print a line for each model and way; the exit status is 1 where one that is chosen by itself changes a level."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=PICTURES, help="folder of clean pictures (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    files = sorted(path for path in given.data.rglob("*") if path.suffix in (".png", ".jpg"))[: given.limit]
    clean = [read_image(path).pixels[None, :3] for path in files]
    noise = degradations.create("noise", sigma=25 / 255)
    noisy = [noise(one, torch.Generator().manual_seed(number)) for number, one in enumerate(clean)]
    floor, rows, kept = machine(), [], True
    print(f"{sentence(floor)}; {len(files)} pictures of {given.data.name}")
    for name in MODELS:
        found = restored(name, noisy)
        quality = {way: fmean(map(float, map(psnr, results, clean))) for way, results in found.items()}
        for way, results in found.items():
            apart = 255 * max((a - b).abs().max().item() for a, b in zip(results, found["plain"], strict=True))
            row = {"model": name, "way": way, "levels": round(apart, 3), "psnr": round(quality[way], 3)}
            row["lost"] = round(quality["plain"] - quality[way], 4)
            kept = kept and (apart <= MOST or way not in BY_ITSELF)
            rows.append(row)
            print(
                f"{name}, {way}: {apart:.3f} levels at most, {quality[way]:.2f} dB, {row['lost']:.4f} dB lost",
                flush=True,
            )
    if given.json is not None:
        table = {"machine": floor, "data": given.data.name, "pictures": len(files), "rows": rows}
        given.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(not kept)


if __name__ == "__main__":
    main()
