"""Trains HI-Diff in tiny size with its prior and without, at equal parameters and iterations, and measures both.

    export REBRIDGE_DATA=...
    python benchmarks/hidiff.py train --seeds 0 1
    python benchmarks/hidiff.py measure --seeds 0 1 --json docs/tables/hi-diff.json
    python benchmarks/hidiff.py prior --model hi-diff-blur-tiny
    python benchmarks/hidiff.py tiles --model hi-diff-blur-tiny
    python benchmarks/hidiff.py sizes

train: both stages of configs/hi-diff/ for every seed, and the same transformer with learned tokens in place of the prior, made
larger by six blocks so that it has as many parameters as the other has at inference, for as many iterations in the same two
parts. Runs that were stopped continue. measure: PSNR and SSIM on motion blur (no defocus), and whether the prior matters: the
same weights given the prior of another image. prior: the correlation of the predicted prior with the teacher's. tiles: PSNR
by the size of the pieces that images are restored in.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from motion_blur import add_clean, clean_of, motion_blur
from torch import Tensor

from rebridge import Restorer, networks
from rebridge.evaluation.cases import Case
from rebridge.evaluation.evaluate import evaluate
from rebridge.evaluation.solvers import centre_square
from rebridge.models import Model, load_model
from rebridge.networks.hidiff import HiDiff
from rebridge.training import train_file
from rebridge.training.methods.hidiff import correlation

CONFIGS = Path(__file__).parent.parent / "configs" / "hi-diff"
LARGER = [1, 2, 5, 5]
"""Blocks of the transformer without a prior."""


def run(name: str, seed: int, output: Path, overrides: list[str]) -> None:
    """Train one variant, "prior" or "none", with one seed: two parts, of which the second begins with the first's weights."""
    plain = ["network.prior=none", f"network.blocks={LARGER}", "latent.stage=1"] if name == "none" else []
    seeds = [f"stages.{part}.seed={seed + 100 * (part + 1)}" for part in (0, 1)]
    changes = [*plain, *seeds, f"output={output / f'{name}-{seed}'}", *overrides]
    if train_file(CONFIGS / "blur-tiny.yaml", changes, resume=True).model is None:
        raise SystemExit("stopped; the same command continues")


def patches(cases: list[Case], size: int) -> tuple[Tensor, Tensor]:
    """One patch from the middle of each image, clean and degraded, (N, 3, size, size)."""
    pairs = [[centre_square(image, size) for image in case.load()] for case in cases]
    return torch.stack([clean for clean, _ in pairs]), torch.stack([y for _, y in pairs])


@torch.no_grad()
def prior_figures(model: Model, cases: list[Case]) -> dict[str, float]:
    """Compare the predicted prior with the teacher's on patches of the window's size, and measure its worth there in dB."""
    network = model.network
    assert isinstance(network, HiDiff)
    low, high = model.process.value_range
    assert network.window is not None
    clean, y = (low + (high - low) * images for images in patches(cases, network.window))
    ones = torch.ones(len(y))
    z, z_hat = network.prior(y, clean=clean), network.prior(y)

    def psnr_with(prior: Tensor) -> float:
        padded = y + network.transformer(y, prior)
        error = ((padded.clamp(low, high) - clean) / (high - low)).square().mean(dim=(1, 2, 3))
        return float((-10 * error.log10()).mean())

    assert torch.allclose(network(y, ones, y), network.transformer(y, z_hat), atol=1e-4)
    return {
        "correlation": correlation(z_hat, z),
        "l1": float((z_hat - z).abs().mean()),
        "l1 of the mean prior": float((z - z.mean(0)).abs().mean()),
        "psnr": psnr_with(z_hat),
        "psnr with the teacher's prior": psnr_with(z),
        "psnr with another image's prior": psnr_with(z_hat.roll(1, 0)),
    }


def measure(options: argparse.Namespace) -> None:
    """Print PSNR and SSIM of both variants for every seed."""
    cases = motion_blur(options.clean, options.limit)
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        for name in ("prior", "none"):
            folder = options.output / f"{name}-{seed}" / "diffusion" / "model"
            restore = Restorer.from_pretrained(folder)
            (summary,) = evaluate(restore, cases).summaries
            model = load_model(folder)
            network = model.network
            assert isinstance(network, HiDiff)
            teacher = dict(network.named_children()).get("teacher", torch.nn.Module())
            used = model.parameters - sum(weight.numel() for weight in teacher.parameters())
            row = {"variant": name, "seed": seed, "parameters": used, "input": summary.input_psnr}
            row |= {"psnr": summary.psnr, "ssim": summary.ssim, "seconds": summary.seconds}
            rows.append(row | ({"patches": prior_figures(model, cases)} if name == "prior" else {}))
            print(json.dumps(rows[-1]), flush=True)
    print("| variant | parameters at inference | PSNR | SSIM |\n|---|---|---|---|")
    for name, text in (("prior", "with the prior"), ("none", "the same transformer without it, six blocks more")):
        chosen = [row for row in rows if row["variant"] == name]
        figures = ", ".join(f"{row['psnr']:.2f}" for row in chosen)
        similar = statistics.mean(row["ssim"] for row in chosen)
        mean = statistics.mean(row["psnr"] for row in chosen)
        print(f"| {text} | {chosen[0]['parameters']:,} | {mean:.2f} ({figures}) | {similar:.4f} |")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"images": len(cases), "rows": rows}, indent=1) + "\n")


def tiles(options: argparse.Namespace) -> None:
    """Print PSNR by the size of the tiles, which overlap by half, and of whole images in one piece."""
    cases = motion_blur(options.clean, options.limit)
    restore = Restorer.from_pretrained(options.model)
    print("| tile | PSNR |\n|---|---|")
    for tile in (96, 128, 192, 256, 0):
        (summary,) = evaluate(restore, cases, tile=tile, overlap=tile // 2).summaries
        print(f"| {tile or 'none'} | {summary.psnr:.2f} |", flush=True)


def sizes() -> None:
    """Print parameters and operations of all sizes, and of what the tiny one is compared with."""
    print("| size | transformer | latent encoder | latent diffusion | teacher (training only) | GMAC at 256x256 |")
    print("|---|---|---|---|---|---|")
    without: dict[str, Any] = {"prior": "none", "blocks": LARGER}
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("hi-diff-tiny", "", {}),
        ("hi-diff-tiny", " without the prior", without),
        ("hi-diff", "", {}),
        ("hi-diff", ", released", {"released": True}),
        ("hi-diff-realblur", "", {}),
    ]
    for name, behind, params in rows:
        network = networks.create(name, **params)
        count = {key: sum(w.numel() for w in part.parameters()) for key, part in network.named_children()}
        parts = " | ".join(f"{count.get(key, 0):,}" for key in ("transformer", "encoder", "diffusion", "teacher"))
        print(f"| {name}{behind} | {parts} | {networks.cost(network).macs / 1e9:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "measure", "prior", "tiles", "sizes"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--output", type=Path, default=Path("runs/hi-diff"))
    add_clean(parser)
    parser.add_argument("--limit", type=int, help="only so many images")
    parser.add_argument("--model", default="hi-diff-blur-tiny")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("overrides", nargs="*", help="key=value for every training run")
    options = parser.parse_args()
    if options.what not in ("train", "sizes"):
        options.clean = clean_of(options, parser)
    if options.what == "train":
        for seed in options.seeds:
            for name in ("prior", "none"):
                run(name, seed, options.output, options.overrides)
    elif options.what == "measure":
        measure(options)
    elif options.what == "tiles":
        tiles(options)
    elif options.what == "prior":
        print(json.dumps(prior_figures(load_model(options.model), motion_blur(options.clean, options.limit)), indent=1))
    else:
        sizes()


if __name__ == "__main__":
    main()
