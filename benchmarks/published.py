"""Measures a published checkpoint: its authors' sampler against few steps of another one.

    python benchmarks/published.py --model model-300.pt --pairs pairs
    python benchmarks/published.py --model goub --pairs pairs --sampler dbim:order=2 --steps 5 10 20 --json goub.json
    python benchmarks/published.py --recipe diffuir_unet irsde_conditional_nafnet --size 64

--pairs: a folder with clean/ and degraded/ pictures of the same names. Printed are PSNR and SSIM, evaluations of the network,
seconds for a picture and the largest memory of the process. --recipe: networks of tests/official with weights that a rule makes,
in their true size with --true; their pictures mean nothing, so that only time and memory are printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rebridge import Restorer
from rebridge.data import PairedFolder
from rebridge.evaluation.metrics import psnr, ssim
from rebridge.models import Model, load_model

ROOT = Path(__file__).parent.parent
Picture = tuple[Tensor | None, Tensor]


@dataclass(frozen=True)
class Row:
    """One sampler on all pictures; quality is None where no clean picture is known."""

    model: str
    sampler: str
    steps: int
    psnr: float | None
    ssim: float | None
    seconds: float
    megabytes: int


def main() -> None:
    """Read the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=[], help="files, folders or names")
    parser.add_argument("--pairs", type=Path, help="folder with clean/ and degraded/")
    parser.add_argument("--recipe", nargs="+", default=[], help="names in tests/official/networks")
    parser.add_argument("--true", action="store_true", help="recipe weights of the published size")
    parser.add_argument("--sampler", nargs="+", default=["dbim"])
    parser.add_argument("--steps", nargs="+", type=int, default=[5, 10, 20])
    parser.add_argument("--size", type=int, default=64, help="side of the picture of a recipe")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if bool(options.model) != bool(options.pairs) or not (options.model or options.recipe):
        parser.error("give --model with --pairs, or --recipe")
    rows: list[Row] = []
    for name in options.model:
        rows += measured(load_model(name, device="cpu"), name, pictures(options.pairs, options.limit), options)
    for name in options.recipe:
        degraded = torch.rand(3, options.size, options.size, generator=torch.Generator().manual_seed(0))
        rows += measured(of_recipe(name, options.true), name, [(None, degraded)], options)
    show(rows)
    if options.json is not None:
        options.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")


def measured(model: Model, name: str, images: Sequence[Picture], options: Any) -> list[Row]:
    """Run the authors' sampler, then each other one with each number of steps."""
    restore = Restorer(model)
    official = {"authors' " + str(restore.sampler_config["name"]): (None, None)}
    others = {f"{sampler} {steps}": (sampler, steps) for sampler in options.sampler for steps in options.steps}
    rows = []
    for label, (sampler, steps) in (official | others).items():
        results, seconds = [], []
        for _, degraded in images:
            begin = time.perf_counter()
            results.append(restore(degraded[None], sampler=sampler, steps=steps, seed=0))
            seconds.append(time.perf_counter() - begin)
        known = [(found, clean[None]) for found, (clean, _) in zip(results, images, strict=True) if clean is not None]
        rows.append(
            Row(
                model=name,
                sampler=label.rpartition(" ")[0] if steps else label,
                steps=restore.sampler(sampler, steps).steps,
                psnr=statistics.fmean(float(psnr(*pair)) for pair in known) if known else None,
                ssim=statistics.fmean(float(ssim(*pair)) for pair in known) if known else None,
                seconds=statistics.median(seconds),
                megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            )
        )
    return rows


def pictures(folder: Path, limit: int | None) -> list[Picture]:
    """Read clean and degraded pictures, (3, H, W) in [0, 1]."""
    pairs = PairedFolder(folder / "clean", folder / "degraded")
    return [pairs.read(number) for number in range(min(limit or len(pairs), len(pairs)))]


def of_recipe(name: str, true: bool) -> Model:
    """Make a model of a network of tests/official with the weights of the rule."""
    sys.path.insert(0, str(ROOT))
    from tests.published import state

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.pth"
        torch.save(state(name, "true_shapes" if true else "tiny_shapes"), path)
        return load_model(path, device="cpu")


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table of Markdown."""
    print("| model | sampler | steps | PSNR | SSIM | s/picture | MB |\n|---|---|---|---|---|---|---|")
    for row in rows:
        quality = "- | -" if row.psnr is None or row.ssim is None else f"{row.psnr:.2f} | {row.ssim:.4f}"
        print(f"| {row.model} | {row.sampler} | {row.steps} | {quality} | {row.seconds:.2f} | {row.megabytes} |")


if __name__ == "__main__":
    main()
